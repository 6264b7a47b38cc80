"""Routes of events."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from pydantic import WithJsonSchema
from starlette.responses import Response

from daemon.domain.errors import Malformed
from daemon.domain.events import Event as Stored
from daemon.domain.events import Severity, event_json, is_type
from daemon.service.changes import WAIT_S_MAX
from daemon.service.events import EventFilter, EventsPage
from daemon.transport.answers import json_answer
from daemon.transport.auth import Ingester, Reader
from daemon.transport.paging import Limit
from daemon.transport.reading import CURSOR_OR_NOTHING, words_schema
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.events import Event, EventList, EventNew

router = new_router(tags=["events"])

FILTER_VALUES_MAX = 100
EventId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
_TYPE = "([A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*)?"
_Type = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_TYPE}(,{_TYPE})*$"})]
_Severity = Annotated[str, words_schema(Severity)]
_SEVERAL = "one or more, separated by commas or repeated"
Types = Annotated[list[_Type] | None, Query(description=_SEVERAL)]
Severities = Annotated[list[_Severity] | None, Query(description=_SEVERAL)]
After = Annotated[
    str | None,
    Query(
        max_length=64,
        description="a cursor; empty: the oldest kept; absent: newest first",
        json_schema_extra={"pattern": CURSOR_OR_NOTHING},
    ),
]
Wait = Annotated[float, Query(ge=0, le=WAIT_S_MAX, allow_inf_nan=False, description="seconds")]


@router.get("/events", response_model=EventList, operation_id="list_events")
async def list_events(
    who: Reader,
    parts: Parts,
    after: After = None,
    type: Types = None,
    severity: Severities = None,
    limit: Limit = 100,
    wait: Wait = 0.0,
) -> Response:
    """Events: the newest first, or in order behind a cursor."""
    wanted = EventFilter(_types(type), _severities(severity))
    if after is None:
        page = await parts.events.newest(wanted, by=who, limit=limit)
    else:
        page = await parts.events.page(wanted, by=who, after=after, limit=limit, wait_s=wait)
    return json_answer(_page(page))


@router.post("/events", response_model=Event, operation_id="create_event", status_code=201)
async def create_event(body: EventNew, who: Ingester, parts: Parts) -> Response:
    """Tell an event."""
    told = body.model_dump(exclude={"timestamp"})
    if body.timestamp is not None:
        told["occurred_at"] = body.timestamp
    event = await parts.events.create(told, by=who)
    return json_answer(_shown(event), status=201)


@router.get("/events/{event_id}", response_model=Event, operation_id="show_event")
async def show_event(event_id: EventId, who: Reader, parts: Parts) -> Response:
    """One event."""
    return json_answer(_shown(await parts.events.show(event_id, by=who)))


def _types(given: list[str] | None) -> list[str] | None:
    """The types asked for; None: all. Raises Malformed."""
    types = _listed(given, what="type")
    if not all(is_type(name) for name in types or ()):
        raise Malformed("type holds something that is no type of events", code="bad_type")
    return types


def _severities(given: list[str] | None) -> list[str] | None:
    """The severities asked for; None: all. Raises Malformed."""
    severities = _listed(given, what="severity")
    if not set(severities or ()) <= set(Severity):
        raise Malformed(f"a severity is one of {', '.join(Severity)}", code="bad_severity")
    return severities


def _listed(given: list[str] | None, *, what: str) -> list[str] | None:
    values = list(dict.fromkeys(v for text in given or () for v in text.split(",") if v))
    if len(values) > FILTER_VALUES_MAX:
        raise Malformed(f"{what} holds more than {FILTER_VALUES_MAX} values", code="too_many_names")
    return values or None


def _shown(event: Stored) -> orjson.Fragment:
    return orjson.Fragment(event_json(event))


def _page(page: EventsPage) -> dict[str, Any]:
    gap = page.gap
    said = gap and {"from": str(gap.start), "to": str(gap.end), "reason": gap.reason}
    events = [_shown(event) for event in page.events]
    return {"events": events, "cursor": str(page.cursor), "gap": said}
