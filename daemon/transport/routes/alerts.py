"""Routes of alerts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from daemon.clock import as_datetime
from daemon.domain.alert_record import Status, shown
from daemon.domain.errors import Malformed
from daemon.domain.rules import Level
from daemon.store.alerts import AlertFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset, Text
from daemon.transport.reading import TimeUs, words_schema
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.alerts import Alert, AlertChanged, AlertList, AlertNote

router = new_router(tags=["alerts"])

AlertId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
_SEVERAL = "one or more, separated by commas or repeated"
_Status = Annotated[str, words_schema(Status)]
_Level = Annotated[str, words_schema(Level)]
Statuses = Annotated[list[_Status] | None, Query(description=_SEVERAL)]
Levels = Annotated[list[_Level] | None, Query(description=_SEVERAL)]


@router.get("/alerts", response_model=AlertList, operation_id="list_alerts")
async def list_alerts(
    who: Reader,
    parts: Parts,
    status: Statuses = None,
    level: Levels = None,
    device_id: Text | None = None,
    rule_id: Text | None = None,
    metric_name: Text | None = None,
    start_time: TimeUs | None = None,
    end_time: TimeUs | None = None,
    shadow: bool | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Alerts, the newest first; times are of `triggered_at`, and counts within the filters."""
    wanted = AlertFilter(
        statuses=_listed(status, Status, "status"),
        levels=_listed(level, Level, "level"),
        device_id=device_id,
        rule_id=rule_id,
        metric_name=metric_name,
        start=None if start_time is None else as_datetime(start_time),
        end=None if end_time is None else as_datetime(end_time),
        is_shadow=shadow,
    )
    alerts, counts = await parts.alerts.page(wanted, by=who, limit=limit, offset=offset)
    filters = {"status": status and ",".join(status), "level": level and ",".join(level),
               "device_id": device_id, "rule_id": rule_id, "metric_name": metric_name,
               "start_time": wanted.start, "end_time": wanted.end, "shadow": shadow}  # fmt: skip
    return json_answer(
        {"alerts": [shown(alert) for alert in alerts], "count": len(alerts), "total": counts.total,
         "active_count": counts.active, "critical_count": counts.critical,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/alerts/{alert_id}", response_model=Alert, operation_id="show_alert")
async def show_alert(alert_id: AlertId, who: Reader, parts: Parts) -> Response:
    """One alert."""
    return json_answer(shown(await parts.alerts.show(alert_id, by=who)))


@router.put(
    "/alerts/{alert_id}/acknowledge", response_model=AlertChanged, operation_id="acknowledge_alert"
)
async def acknowledge_alert(
    alert_id: AlertId, who: AlertsWriter, parts: Parts, body: AlertNote | None = None
) -> Response:
    """Say that somebody looks at it; a second time changes nothing."""
    note = None if body is None else body.note
    alert = await parts.alerts.acknowledge(alert_id, note=note, by=who)
    return json_answer(shown(alert) | {"success": True})


@router.put("/alerts/{alert_id}/resolve", response_model=AlertChanged, operation_id="resolve_alert")
async def resolve_alert(
    alert_id: AlertId, who: AlertsWriter, parts: Parts, body: AlertNote | None = None
) -> Response:
    """End it by hand."""
    note = None if body is None else body.note
    alert = await parts.alerts.resolve(alert_id, note=note, by=who)
    return json_answer(shown(alert) | {"success": True})


def _listed(given: list[str] | None, known: type[StrEnum], what: str) -> list[str] | None:
    """The words asked for; None: all. Raises Malformed."""
    values = list(dict.fromkeys(v for text in given or () for v in text.split(",") if v))
    if not set(values) <= set(known):
        raise Malformed(f"{what} is one or more of {', '.join(known)}")
    return values or None
