"""Events: what happened, as told to feeds, streams and other services. Where they are kept is
store/events'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

from daemon.domain.access import Principal
from daemon.domain.ids import new_id

OWN_PREFIXES = (
    "telemetry",
    "metric",
    "device",
    "group",
    "key",
    "account",
    "alert",
    "notification",
    "watch",
)
"""What this system tells itself; nobody else may."""
ALERT_CHANGES = frozenset({"alert.triggered", "alert.acknowledged", "alert.resolved"})
"""Types whose data is an alert."""
CAUSE_MEMBER = "_cause"
"""Where the data keeps that, unseen: nobody else may use the name."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class Severity(StrEnum):
    """How much it matters, least first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


class EventType(StrEnum):
    """What this system tells; the names are those that other services listen for."""

    METRIC_DEFINED = "metric.defined"
    METRIC_UPDATED = "metric.updated"
    METRIC_DELETED = "metric.deleted"
    DEVICE_UPDATED = "device.updated"
    DEVICE_DELETED = "device.deleted"
    GROUP_CREATED = "group.created"
    GROUP_UPDATED = "group.updated"
    GROUP_DELETED = "group.deleted"
    RULE_CREATED = "alert.rule.created"
    RULE_UPDATED = "alert.rule.updated"
    RULE_DELETED = "alert.rule.deleted"
    ALERT_TRIGGERED = "alert.triggered"
    ALERT_ACKNOWLEDGED = "alert.acknowledged"
    ALERT_RESOLVED = "alert.resolved"
    NOTIFICATION = "notification.delivered"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    KEY_EXPIRING = "key.expiring"
    KEY_NEW_NETWORK = "key.new_network"
    KEY_SERIES_LIMIT = "key.series_limit"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_UPDATED = "account.updated"
    ACCOUNT_DELETED = "account.deleted"
    SESSION_REUSED = "account.session.reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is about to be stored, in the transaction of what it tells.

    `subject` is the id of what it is about. `device_id` and `metric_name` decide who may see it.
    A second event with the same `dedup_id` is not stored.
    """

    event_id: str
    type: str
    message: str
    created_by: str
    occurred_at: datetime
    severity: str = Severity.INFO
    subject: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    device_id: str | None = None
    metric_name: str | None = None
    dedup_id: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event; `seq` is its place among blocks and events, `data` canonical JSON text.

    `cause` is JSON of the request that it comes from (daemon/tracing), when there is one.
    """

    seq: int
    event_id: str
    type: str
    severity: str
    subject: str | None
    message: str
    data: str
    device_id: str | None
    metric_name: str | None
    occurred_at: datetime
    created_by: str
    cause: str | None = None


def new_event(type: str, message: str, *, by: str, now_us: int, **about: Any) -> NewEvent:
    """An event of now with an id of its own; `about` are further fields of NewEvent."""
    about.setdefault("occurred_at", _EPOCH + timedelta(microseconds=now_us))
    return NewEvent(
        event_id=new_id("evt", now_us=now_us), type=type, message=message, created_by=by, **about
    )


def event_json(event: Event) -> bytes:
    """The event as the contract shows it (7.2)."""
    shown = {
        "event_id": event.event_id,
        "type": event.type,
        "severity": event.severity,
        "timestamp": event.occurred_at,
        "subject": event.subject,
        "message": event.message,
        "data": orjson.Fragment(event.data),
    }
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z)


def is_type(text: str) -> bool:
    """Whether the text names a type of event: words between dots."""
    return len(text) <= 128 and _TYPE.fullmatch(text) is not None


def is_own_type(text: str) -> bool:
    """Whether only this system may tell events of this type."""
    return text.partition(".")[0] in OWN_PREFIXES


def sees_event(principal: Principal, event: Event | NewEvent) -> bool:
    """Whether the asker may know of it.

    An event about a device or metric shows itself to who sees those; one about keys and accounts to
    the holders of keys; one about a rule, or an alert of more than one device, to who sees all
    devices; any other to who sees everything.
    """
    if event.type.startswith(("key.", "account.")):
        scopes = principal.scopes
        return principal.sees_everything and ("keys" in scopes or "admin" in scopes)
    if event.device_id is None and event.metric_name is None:
        return principal.sees_everything
    if event.device_id is None and event.type.startswith("alert.") and principal.is_bound:
        return False
    return (event.device_id is None or principal.sees_device(event.device_id)) and (
        event.metric_name is None or principal.sees_metric(event.metric_name)
    )
