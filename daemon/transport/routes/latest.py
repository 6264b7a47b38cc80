"""Routes of the newest points, and of what metrics a device has."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Header
from starlette.responses import Response

from daemon.domain.access import Principal
from daemon.domain.errors import Invalid
from daemon.service.devices import DeviceQuery
from daemon.service.latest import (
    DEVICES_MAX,
    FOUND_DEVICES_MAX,
    LOOKBACK_DEFAULT_US,
    Newest,
    NewestQuery,
)
from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.boxes import BoxText, parse_box
from daemon.transport.etags import matches
from daemon.transport.json_pages import newest_dict
from daemon.transport.paging import Text
from daemon.transport.paths import PathId
from daemon.transport.reading import DurationUs, NameList, names_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts, Services
from telemetryctl.api.devices import DeviceMetrics
from telemetryctl.api.queries import LatestPoint, LatestResult

router = new_router(tags=["reading"])

CACHE_CONTROL = "private, max-age=60"
# A browser may keep it, but neither for another key nor for a page of another origin.
VARY = "Authorization, X-Api-Key, Origin"


@router.get(
    "/devices/{device_id}/metrics/{metric_name}/latest",
    response_model=LatestPoint,
    operation_id="read_latest",
    responses={304: {"description": "It is still the one that If-None-Match names."}},
)
async def read_latest(
    device_id: PathId,
    metric_name: PathId,
    who: Reader,
    parts: Parts,
    lookback: DurationUs = LOOKBACK_DEFAULT_US,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest point of one series; `lookback=0` takes it however old it is."""
    newest = parts.reads.latest.one(
        who, device_id=device_id, metric_name=metric_name, lookback_us=lookback
    )
    headers = {"ETag": etag_of(newest), "Cache-Control": CACHE_CONTROL, "Vary": VARY}
    if if_none_match is not None and matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    answer = newest_dict(newest)
    if lookback == 0:
        answer["stale"] = newest.is_stale
    return json_answer(answer, headers=headers)


@router.get("/latest", response_model=LatestResult, operation_id="list_latest")
async def list_latest(
    who: Reader,
    parts: Parts,
    device_ids: NameList = None,
    metric_names: NameList = None,
    lookback: DurationUs = LOOKBACK_DEFAULT_US,
    group: Text | None = None,
    type: Text | None = None,
    bbox: BoxText | None = None,
    view: Literal["full", "core"] = "full",
) -> Response:
    """The newest points of several devices: named, of a group or type, in a box, or all."""
    named = names_of(device_ids, what="device_ids")
    if named is not None and len(named) > DEVICES_MAX:
        raise Invalid(
            f"device_ids holds {len(named)} devices, more than {DEVICES_MAX}",
            code="too_many_devices",
        )
    devices = named
    if type is not None or bbox is not None:
        found = await _described(parts, who, DeviceQuery(type=type, group=group), bbox=bbox)
        devices = found if named is None else [d for d in named if d in set(found)]
    cursor = str(parts.reads.changes.position())
    groups = () if group is None else (group,)
    wanted = NewestQuery(devices, names_of(metric_names, what="metric_names"), lookback, groups)
    latest = parts.reads.latest.many(who, wanted)
    is_core = view == "core"
    answer = {
        "latest": {
            device_id: {row.metric_name: newest_dict(row, is_core=is_core) for row in rows}
            for device_id, rows in latest.items()
        },
        "missing": [device_id for device_id in named or () if device_id not in latest],
        "count": sum(map(len, latest.values())),
        "cursor": cursor,
    }
    return json_answer(answer, headers={"Cache-Control": CACHE_CONTROL, "Vary": VARY})


@router.get(
    "/devices/{device_id}/metrics",
    response_model=DeviceMetrics,
    operation_id="list_device_metrics",
)
async def list_device_metrics(device_id: PathId, who: Reader, parts: Parts) -> Response:
    """Names of the metrics that a device has sent; empty when there are none."""
    metrics = parts.reads.series.metrics_of(who, device_id)
    return json_answer({"device_id": device_id, "metrics": metrics, "count": len(metrics)})


async def _described(
    parts: Services, who: Principal, wanted: DeviceQuery, *, bbox: str | None
) -> list[str]:
    """Devices of a type and in a box: where they were put, or where they say they are."""
    box = None if bbox is None else parse_box(bbox)
    query = replace(wanted, box=box)
    rows, total = await parts.devices.page(query, by=who, limit=FOUND_DEVICES_MAX, offset=0)
    found = [row.device_id for row in rows]
    if box is not None:
        moving = parts.reads.latest.devices_within(who, (box.west, box.south, box.east, box.north))
        if moving and (wanted.type is not None or wanted.group is not None):
            of_type, _ = await parts.devices.page(wanted, by=who, limit=FOUND_DEVICES_MAX, offset=0)
            known = {row.device_id for row in of_type}
            moving = [device_id for device_id in moving if device_id in known]
        found = list(dict.fromkeys([*found, *moving]))
    if max(total, len(found)) > FOUND_DEVICES_MAX:
        raise Invalid(
            f"more than {FOUND_DEVICES_MAX} devices fit; name them", code="too_many_devices"
        )
    return found


def etag_of(newest: Newest) -> str:
    """Weak, since the age in the body moves on while the point stays (RFC 9110, 8.8.1)."""
    return f'W/"{newest.version}"'
