"""Alerts: what came of rules, and what people did about it."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from telemetryctl.api.model import Answer, Input, Instant
from telemetryctl.api.rules import Condition, Level


class Status(StrEnum):
    """Where an alert stands; from active it goes on in this order, and never back."""

    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertNote(Input):
    """What to write down with an acknowledgement or a resolution."""

    note: Annotated[str, Field(max_length=1_024)] | None = None


class Alert(Answer):
    """One alert. `device_id` is null when `scope` is a group or all that is taken in.

    `triggered_at` is the moment of decision, `event_time` the instant of the deciding sample;
    `shadow` ones tell nobody, `stale` ones are open without data.
    """

    alert_id: str
    rule_id: str
    rule_name: str
    device_id: str | None
    metric_name: str
    level: Level
    status: Status
    value: Any
    threshold_value: Any
    condition: Condition | None
    message: str
    triggered_at: Instant
    event_time: Instant
    acknowledged_by: str | None
    acknowledged_at: Instant | None
    acknowledged_note: str | None
    resolved_by: str | None
    resolved_at: Instant | None
    resolved_note: str | None
    resolved_reason: str | None
    resolved_event_time: Instant | None
    shadow: bool
    stale: bool
    scope: str
    group_id: str | None


class AlertChanged(Alert):
    """An alert after somebody did something about it."""

    success: bool


class AlertList(Answer):
    """A page of alerts, the newest first; the counts are within the filters.

    `active_count` counts those of status active, `critical_count` those of level critical or
    emergency, whatever their status.
    """

    alerts: list[Alert]
    count: int
    total: int
    active_count: int
    critical_count: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None
