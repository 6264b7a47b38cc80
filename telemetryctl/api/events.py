"""Events: what happened, as a feed."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from telemetryctl.api.model import Answer, Input, Instant
from telemetryctl.api.queries import Gap


class Severity(StrEnum):
    """How much it matters, least first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


class EventNew(Input):
    """An event to tell. The types `telemetry.*`, `metric.*`, `device.*`, `group.*`, `key.*` and
    `alert.*` are told by the server only.

    `device_id` and `metric_name` in `data` say what it is about; a subject that is a device does
    as well. A repeated `dedup_id` of the same key is the same event. Without `timestamp` it is now.
    """

    type: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    ]
    severity: Severity = Severity.INFO
    subject: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    message: Annotated[str, Field(max_length=4_096)] = ""
    data: dict[str, Any] = Field(default_factory=dict)
    timestamp: Instant | None = None
    dedup_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Event(Answer):
    """What happened; `subject` is the id of what it is about."""

    event_id: str
    type: str
    severity: Severity
    timestamp: Instant
    subject: str | None
    message: str
    data: dict[str, Any]


class EventList(Answer):
    """Events, and the cursor to go on from."""

    events: list[Event]
    cursor: str
    gap: Gap | None = None
