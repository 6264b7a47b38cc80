"""Blocks and events as CloudEvents 1.0, for other systems. How they travel is decided in
delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

import orjson

from daemon.domain.cursors import Cursor
from daemon.domain.events import Event, event_json
from daemon.tracing import link_headers

DATA_RECEIVED = "telemetry.data.received"
DEVICES_MAX = 100
"""A message names so many devices of its flush at most."""
BUS_PREFIXES = ("telemetry.", "alert.", "metric.")
_SPEC_VERSION = "1.0"
# Visible ASCII but the quote and the percent sign goes as it is (HTTP binding, section 3.1.3.2).
_HEADER_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}~"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """`id` is the same however often it is sent; `data` is JSON, and `short` what remains of it
    when it is too large for the way. `links` are headers that lead back to a request."""

    id: str
    type: str
    source: str
    time: datetime
    data: bytes
    short: bytes
    subject: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def bus_subject(self) -> str:
        """Where it is published: its type, below `telemetry.event` if that is of another family."""
        is_own = self.type.startswith(BUS_PREFIXES)
        return self.type if is_own else f"telemetry.event.{self.type}"

    def headers(self) -> dict[str, str]:
        """Its attributes in binary mode (CloudEvents, NATS binding, section 3.1)."""
        found = {
            "ce-specversion": _SPEC_VERSION,
            "ce-id": self.id,
            "ce-source": self.source,
            "ce-type": self.type,
            "ce-time": self.time.isoformat().replace("+00:00", "Z"),
            "ce-datacontenttype": "application/json",
        }
        if self.subject is not None:
            found["ce-subject"] = quote(self.subject, safe=_HEADER_SAFE)
        return found | dict(self.links)


def of_block(cursor: Cursor, *, time: datetime, points: int, devices: Sequence[str]) -> CloudEvent:
    """That a flush of so many points was committed; `cursor` is the place behind it."""
    data = {"points": points, "devices": devices[:DEVICES_MAX], "cursor": str(cursor)}
    return CloudEvent(
        id=str(cursor),
        type=DATA_RECEIVED,
        source=source_of(cursor.epoch),
        time=time,
        data=orjson.dumps(data),
        short=orjson.dumps(data | {"devices": []}),
    )


def of_event(event: Event, *, epoch: str) -> CloudEvent:
    """The event as the feed shows it."""
    whole = event_json(event)
    short = orjson.loads(whole)
    return CloudEvent(
        id=event.event_id,
        type=event.type,
        source=source_of(epoch),
        time=event.occurred_at,
        data=whole,
        short=orjson.dumps(short | {"data": {}, "data_omitted": True}),
        subject=event.subject,
        links=link_headers(orjson.loads(event.cause) if event.cause else None),
    )


def source_of(epoch: str) -> str:
    """The installation: all its daemons speak as one, so that what is sent twice is known again."""
    return f"urn:telemetry:{epoch}"
