"""Routes of devices."""

from __future__ import annotations

from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from daemon.service.devices import DeviceQuery
from daemon.transport.answers import json_answer
from daemon.transport.auth import DevicesWriter, Reader
from daemon.transport.boxes import BoxText, parse_box
from daemon.transport.paging import Limit, Offset, Text, tags_of
from daemon.transport.paths import PathId
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.devices import Device, DeviceDeleted, DeviceList, DevicePatch

router = new_router(tags=["devices"])


@router.get("/devices", response_model=DeviceList, operation_id="list_devices")
async def list_devices(
    request: Request,
    who: Reader,
    parts: Parts,
    type: Text | None = None,
    group: Text | None = None,
    status: Literal["active", "inactive"] | None = None,
    bbox: BoxText | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Devices by id; `tag.K=V` asks for a tag, `status=active` for a point of the last 24 hours."""
    tags = tags_of(request.query_params.multi_items())
    box = None if bbox is None else parse_box(bbox)
    wanted = DeviceQuery(type, group, tags, status, box)
    devices, total = await parts.devices.page(wanted, by=who, limit=limit, offset=offset)
    filters = {"type": type, "group": group, "tags": tags or None, "status": status, "bbox": bbox}
    return json_answer(
        {"devices": devices, "count": len(devices), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/devices/{device_id}", response_model=Device, operation_id="show_device")
async def show_device(device_id: PathId, who: Reader, parts: Parts) -> Response:
    """One device."""
    return json_answer(await parts.devices.show(device_id, by=who))


@router.patch("/devices/{device_id}", response_model=Device, operation_id="change_device")
async def change_device(
    device_id: PathId, body: DevicePatch, who: DevicesWriter, parts: Parts
) -> Response:
    """Change the given fields; null clears one."""
    return json_answer(await parts.devices.change(device_id, _given(body), by=who))


@router.delete("/devices/{device_id}", response_model=DeviceDeleted, operation_id="delete_device")
async def delete_device(device_id: PathId, who: DevicesWriter, parts: Parts) -> Response:
    """Remove a device with its series and all their points."""
    await parts.devices.delete(device_id, by=who)
    return json_answer({"success": True, "message": f"{device_id} and its points are deleted"})


def _given(body: DevicePatch) -> dict[str, Any]:
    """The fields to change; a cleared map is an empty one."""
    given = body.model_dump(exclude_unset=True, mode="json")
    for name in ("tags", "attributes"):
        if name in given and given[name] is None:
            given[name] = {}
    if given.get("location"):
        given["location"] = {k: v for k, v in given["location"].items() if v is not None}
    return given
