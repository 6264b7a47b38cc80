"""Alerts as they are kept and shown. How they come and go is domain/alerts'."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

WIRE_NAMES: Final = {"is_shadow": "shadow", "is_stale": "stale"}
_HIDDEN = frozenset({"rule_revision", "series_id", "by_silence", "last_breach"})


class Status(StrEnum):
    """Where an alert stands; it never goes back."""

    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Ended(StrEnum):
    """Why an alert is resolved (contract 7.1)."""

    CLEARED = "cleared"
    BY_HAND = "by_hand"
    RULE_DISABLED = "rule_disabled"
    RULE_DELETED = "rule_deleted"
    RULE_CHANGED = "rule_changed"
    DEVICE_DELETED = "device_deleted"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A row of the table: an alert with the words of its rule when it fired.

    triggered_at, event_time  when it was decided, and the instant of the deciding sample
    last_breach               newest breach by event time, as far as it is stored
    resolved_event_time       None when a user, or a change of the rule, ended it
    """

    alert_id: str
    rule_id: str
    rule_name: str
    rule_revision: int
    series_id: int | None
    device_id: str | None
    metric_name: str
    scope: str
    group_id: str | None
    level: str
    status: str
    is_shadow: bool
    is_stale: bool
    by_silence: bool
    value: Any
    condition: str | None
    threshold_value: Any
    message: str
    triggered_at: datetime
    event_time: datetime
    last_breach: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_note: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    resolved_note: str | None = None
    resolved_reason: str | None = None
    resolved_event_time: datetime | None = None


def shown(alert: Alert) -> dict[str, Any]:
    """The alert as the API, the events and the streams show it."""
    return {
        WIRE_NAMES.get(name, name): getattr(alert, name)
        for name in Alert.__slots__
        if name not in _HIDDEN
    }
