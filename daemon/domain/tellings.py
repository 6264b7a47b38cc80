"""What this system itself tells: one function for each event, named as the event. None holds a
secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from daemon.domain import alert_record, rule_request
from daemon.domain.alert_record import Alert
from daemon.domain.devices import Device
from daemon.domain.events import EventType, NewEvent, Severity, new_event
from daemon.domain.groups import Group, Moved
from daemon.domain.metrics import Metric
from daemon.domain.rule_request import AlertRule


class DescribedKey(Protocol):
    """What of a key may be told."""

    @property
    def key_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def tier(self) -> str: ...
    @property
    def devices(self) -> Sequence[str] | None: ...
    @property
    def groups(self) -> Sequence[str] | None: ...
    @property
    def metrics(self) -> Sequence[str] | None: ...
    @property
    def expires_at(self) -> datetime | None: ...


class UsedKey(Protocol):
    """What of the use of a key may be told."""

    @property
    def key_id(self) -> str: ...
    @property
    def network(self) -> str | None: ...


class DescribedAccount(Protocol):
    """What of an account may be told."""

    @property
    def account_id(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def tier(self) -> str: ...


DEVICES_TOLD_MAX = 100
"""An event names so many devices that came or went at most; it counts all."""
_ACCOUNT_FIELDS = ("account_id", "username", "scopes", "tier")
_KEY_FIELDS = ("key_id", "name", "scopes", "tier", "devices", "groups", "metrics", "expires_at")


def metric_defined(metric: Metric, *, by: str, now_us: int) -> NewEvent:
    """The data is the definition."""
    return _of_metric(
        EventType.METRIC_DEFINED,
        metric.name,
        f"metric {metric.name} is defined",
        {"metric_name": metric.name, **asdict(metric)},
        by=by,
        now_us=now_us,
    )


def metric_updated(metric: Metric, fields: Sequence[str], *, by: str, now_us: int) -> NewEvent:
    """The data is the definition as it is now; `changed` names the fields."""
    return _of_metric(
        EventType.METRIC_UPDATED,
        metric.name,
        f"metric {metric.name} is changed: {', '.join(fields)}",
        {"metric_name": metric.name, **asdict(metric), "changed": list(fields)},
        by=by,
        now_us=now_us,
    )


def metric_deleted(name: str, retention_days: int, *, by: str, now_us: int) -> NewEvent:
    """Its points stay, for these days."""
    return _of_metric(
        EventType.METRIC_DELETED,
        name,
        f"the definition of metric {name} is deleted",
        {"metric_name": name, "retention_days": retention_days},
        by=by,
        now_us=now_us,
    )


def _of_metric(
    type: EventType, name: str, message: str, data: dict[str, Any], **told: Any
) -> NewEvent:
    return new_event(type, message, subject=name, data=data, metric_name=name, **told)


def device_updated(device: Device, fields: Sequence[str], *, by: str, now_us: int) -> NewEvent:
    """The data is what was changed, by field, and which fields those are."""
    shown = asdict(device)
    data = {"device_id": device.device_id, "changed": list(fields)}
    return new_event(
        EventType.DEVICE_UPDATED,
        f"device {device.device_id} is changed: {', '.join(fields)}",
        by=by,
        now_us=now_us,
        subject=device.device_id,
        data=data | {name: shown[name] for name in fields},
        device_id=device.device_id,
    )


def device_deleted(device_id: str, series: int, *, by: str, now_us: int) -> NewEvent:
    """With all its points, of so many series."""
    return new_event(
        EventType.DEVICE_DELETED,
        f"device {device_id} and its points are deleted",
        by=by,
        now_us=now_us,
        subject=device_id,
        data={"device_id": device_id, "series": series},
        device_id=device_id,
        severity=Severity.WARNING,
    )


def group_created(group: Group, moved: Moved, *, by: str, now_us: int) -> NewEvent:
    """The data is the group, and who is in it."""
    return _of_group(EventType.GROUP_CREATED, group, "is made", moved, by=by, now_us=now_us)


def group_updated(
    group: Group, fields: Sequence[str], moved: Moved, *, by: str, now_us: int
) -> NewEvent:
    """The data is the group as it is now; `changed` names fields, `joined` and `left` devices."""
    said = f"is changed: {', '.join(fields)}"
    changed = {"changed": list(fields)}
    return _of_group(
        EventType.GROUP_UPDATED, group, said, moved, more=changed, by=by, now_us=now_us
    )


def group_deleted(group: Group, *, by: str, now_us: int) -> NewEvent:
    """The data is the group as it was; its devices stay."""
    return _of_group(EventType.GROUP_DELETED, group, "is deleted", by=by, now_us=now_us)


def _of_group(
    type: EventType,
    group: Group,
    said: str,
    moved: Moved | None = None,
    *,
    more: dict[str, Any] | None = None,
    **told: Any,
) -> NewEvent:
    data = asdict(group) | (more or {})
    for name, devices in (("joined", moved.joined), ("left", moved.left)) if moved else ():
        data |= {name: list(devices[:DEVICES_TOLD_MAX]), f"{name}_count": len(devices)}
    return new_event(type, f"group {group.name} {said}", subject=group.group_id, data=data, **told)


def rule_created(rule: AlertRule, *, by: str, now_us: int) -> NewEvent:
    """The data is the rule."""
    return _of_rule(EventType.RULE_CREATED, rule, "is created", by=by, now_us=now_us)


def rule_updated(rule: AlertRule, fields: Sequence[str], *, by: str, now_us: int) -> NewEvent:
    """The data is the rule as it is now; `changed` names the fields."""
    what = f"is changed: {', '.join(fields)}"
    changed = {"changed": list(fields)}
    return _of_rule(EventType.RULE_UPDATED, rule, what, more=changed, by=by, now_us=now_us)


def rule_deleted(rule: AlertRule, *, by: str, now_us: int) -> NewEvent:
    """The data is the rule as it was."""
    return _of_rule(EventType.RULE_DELETED, rule, "is deleted", by=by, now_us=now_us)


def _of_rule(
    type: EventType,
    rule: AlertRule,
    what: str,
    more: dict[str, Any] | None = None,
    **told: Any,
) -> NewEvent:
    data = rule_request.shown(rule) | (more or {})
    message = f"rule {rule.name} {what}"
    return new_event(
        type, message, subject=rule.rule_id, data=data, metric_name=rule.metric_name, **told
    )


def alert_acknowledged(alert: Alert, *, by: str, now_us: int) -> NewEvent:
    """The data is the alert."""
    message = f"{alert.rule_name} of {_place(alert)} is acknowledged"
    return _of_alert(EventType.ALERT_ACKNOWLEDGED, alert, message, by=by, now_us=now_us)


def alert_resolved(alert: Alert, *, by: str, now_us: int) -> NewEvent:
    """The data is the alert; its `resolved_reason` says what ended it."""
    message = f"{alert.rule_name} of {_place(alert)} is over: {alert.resolved_reason}"
    return _of_alert(EventType.ALERT_RESOLVED, alert, message, by=by, now_us=now_us)


def _place(alert: Alert) -> str:
    return alert.device_id or alert.group_id or alert.metric_name


def _of_alert(type: EventType, alert: Alert, message: str, **told: Any) -> NewEvent:
    return new_event(
        type,
        message,
        subject=alert.alert_id,
        data=alert_record.shown(alert),
        device_id=alert.device_id,
        metric_name=alert.metric_name,
        dedup_id=f"{alert.alert_id}:{type.rpartition('.')[2]}",
        **told,
    )


def key_created(key: DescribedKey, *, by: str, now_us: int) -> NewEvent:
    """What it may do, not what it is."""
    data = {name: getattr(key, name) for name in _KEY_FIELDS}
    return new_event(
        EventType.KEY_CREATED,
        f"key {key.name} is created",
        by=by,
        now_us=now_us,
        subject=key.key_id,
        data=data,
    )


def key_rotated(
    key_id: str, name: str, former_valid_until: datetime, *, by: str, now_us: int
) -> NewEvent:
    """It has a new secret; the former one is valid until then."""
    data = {"key_id": key_id, "name": name, "former_valid_until": former_valid_until}
    return new_event(
        EventType.KEY_ROTATED,
        f"key {name} has a new secret",
        by=by,
        now_us=now_us,
        subject=key_id,
        data=data,
    )


def key_revoked(key_id: str, name: str, *, by: str, now_us: int) -> NewEvent:
    """It is accepted no longer."""
    return new_event(
        EventType.KEY_REVOKED,
        f"key {name} is revoked",
        by=by,
        now_us=now_us,
        subject=key_id,
        data={"key_id": key_id, "name": name},
    )


def key_expiring(key: DescribedKey, *, now_us: int) -> NewEvent:
    """It ends soon: whoever uses it needs another. Told once."""
    return new_event(
        EventType.KEY_EXPIRING,
        f"key {key.name} expires at {key.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        by="telemetryd",
        now_us=now_us,
        subject=key.key_id,
        data={name: getattr(key, name) for name in _KEY_FIELDS},
        severity=Severity.WARNING,
        dedup_id=f"{key.key_id}:expiring",
    )


def key_new_network(key: UsedKey, name: str, *, is_last: bool, now_us: int) -> NewEvent:
    """It was used from a network that it was never used from before. Told once; `is_last`: of
    further ones nothing is told for a day."""
    more = "; of further ones nothing is told for a day" if is_last else ""
    return new_event(
        EventType.KEY_NEW_NETWORK,
        f"key {name} is used from {key.network}, for the first time{more}",
        by="telemetryd",
        now_us=now_us,
        subject=key.key_id,
        data={"key_id": key.key_id, "name": name, "network": key.network},
        severity=Severity.WARNING,
        dedup_id=f"{key.key_id}:network:{key.network}",
    )


def series_limit_reached(key_id: str, name: str, tier: str, *, now_us: int) -> NewEvent:
    """It brought more new series than its tier may in an hour; they are refused. Told once in each
    hour."""
    return new_event(
        EventType.KEY_SERIES_LIMIT,
        f"{name} brings more new series than its tier may in an hour; they are refused",
        by="telemetryd",
        now_us=now_us,
        subject=key_id,
        data={"key_id": key_id, "name": name, "tier": tier},
        severity=Severity.WARNING,
        dedup_id=f"{key_id}:series:{now_us // 3_600_000_000}",
    )


def account_created(account: DescribedAccount, *, by: str, now_us: int) -> NewEvent:
    """What it may do."""
    return _of_account(EventType.ACCOUNT_CREATED, account, "is created", by=by, now_us=now_us)


def account_updated(
    account: DescribedAccount, fields: Sequence[str], *, by: str, now_us: int
) -> NewEvent:
    """`changed` names the fields, of which none is told."""
    said = f"is changed: {', '.join(fields)}"
    changed = list(fields)
    return _of_account(
        EventType.ACCOUNT_UPDATED, account, said, by=by, now_us=now_us, changed=changed
    )


def account_deleted(account: DescribedAccount, *, by: str, now_us: int) -> NewEvent:
    """Nobody logs in to it any more."""
    return _of_account(EventType.ACCOUNT_DELETED, account, "is deleted", by=by, now_us=now_us)


def _of_account(
    type: EventType, account: DescribedAccount, said: str, *, by: str, now_us: int, **data: object
) -> NewEvent:
    shown = {name: getattr(account, name) for name in _ACCOUNT_FIELDS}
    return new_event(
        type,
        f"account {account.username} {said}",
        by=by,
        now_us=now_us,
        subject=account.account_id,
        data=shown | data,
    )


def session_reused(session_id: str, holder: str, *, address: str, now_us: int) -> NewEvent:
    """A refresh token came a second time, so somebody else may have it: the session is ended."""
    return new_event(
        EventType.SESSION_REUSED,
        f"a refresh token of {holder} was used twice; its session is ended",
        by="telemetryd",
        now_us=now_us,
        subject=session_id,
        data={"session_id": session_id, "principal": holder, "address": address},
        severity=Severity.WARNING,
    )
