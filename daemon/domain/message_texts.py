"""What messages say: to people in one line and a few more, to programs as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from daemon.domain.alert_record import Alert, Status, shown
from daemon.domain.deliveries import Outgoing
from daemon.domain.notifications import Kind, Message
from daemon.domain.rules import Level
from daemon.tracing import link_headers

TYPES = {
    Kind.FIRE: "alert.triggered",
    Kind.REPEAT: "alert.triggered",
    Kind.CLOSE: "alert.resolved",
    Kind.DIGEST: "alert.digest",
    Kind.TEST: "channel.test",
}
DIGEST_LINES_MAX = 50
LEVELS = tuple(Level)
_LATER = (
    *("acknowledged_by", "acknowledged_at", "acknowledged_note", "resolved_by", "resolved_at"),
    *("resolved_note", "resolved_reason", "resolved_event_time"),
)


def as_told(alert: Alert, *, kind: str) -> dict[str, Any]:
    """The alert as a message of this kind tells it. A firing that arrives late is a firing still:
    it says the same whenever it is sent, and what came later has a message of its own."""
    if kind == Kind.CLOSE:
        return shown(alert)
    return shown(alert) | {"status": Status.ACTIVE, **dict.fromkeys(_LATER)}


def message_about(
    message: Message, alert: Mapping[str, Any], *, device: Mapping[str, Any] | None, source: str
) -> Outgoing:
    """A firing or an end, as told of one alert."""
    is_over = message.kind == Kind.CLOSE
    title = f"[{_label(alert)}] {alert['rule_name']}: {_place(alert)}"
    lines = [str(alert["message"])]
    if is_over:
        lines = [f"{alert['rule_name']} of {_place(alert)} is over: {_reason(alert)}."]
        if lasted := _lasted(alert):
            lines.append(f"It lasted {lasted}.")
    lines += _details(alert, device)
    data = dict(alert) | ({"device": dict(device)} if device else {})
    return Outgoing(
        id=message.notification_id,
        type=TYPES[Kind(message.kind)],
        source=source,
        time=alert["resolved_at"] if is_over and alert["resolved_at"] else alert["triggered_at"],
        subject=str(alert["alert_id"]),
        level=str(message.level or alert["level"]),
        title=title,
        text="\n".join(lines),
        data=data,
        alerts=[alert],
        links=link_headers(message.verdict_data.get("cause")),
    )


def digest_payload(alerts: Sequence[Mapping[str, Any]], *, now: datetime) -> dict[str, Any]:
    """The data of a digest, kept with it: every attempt says the same."""
    over = sum(alert["status"] == Status.RESOLVED for alert in alerts)
    return {
        "alerts": list(alerts),
        "count": len(alerts),
        "active": len(alerts) - over,
        "resolved": over,
        "at": now,
    }


def worst(levels: Sequence[str]) -> str:
    """The worst of some levels."""
    return max(levels, key=LEVELS.index, default=Level.INFO)


def digest_of(message: Message, *, source: str) -> Outgoing:
    """What was held back, in one message."""
    payload = message.payload or {"alerts": [], "active": 0, "resolved": 0}
    alerts = payload["alerts"]
    title = f"[DIGEST] {payload['active']} alerts go on, {payload['resolved']} are over"
    lines = [f"[{_label(alert)}] {alert['message']}" for alert in alerts[:DIGEST_LINES_MAX]]
    if len(alerts) > DIGEST_LINES_MAX:
        lines.append(f"... and {len(alerts) - DIGEST_LINES_MAX} more")
    return Outgoing(
        id=message.notification_id,
        type=TYPES[Kind.DIGEST],
        source=source,
        time=message.created_at,
        subject=None,
        level=str(message.level or Level.INFO),
        title=title,
        text="\n".join(lines),
        data={name: value for name, value in payload.items() if name != "at"},
        alerts=alerts,
    )


def plain_of(message: Message, *, source: str) -> Outgoing:
    """A test, or what was decided with its words: a watch."""
    payload = dict(message.payload or {})
    text = str(payload.get("message") or "telemetry")
    type = payload.pop("type", None) or TYPES[Kind(message.kind)]
    return Outgoing(
        id=message.notification_id,
        type=str(type),
        source=source,
        time=message.created_at,
        subject=message.watch_id,
        level=str(message.level or Level.INFO),
        title=str(payload.pop("title", None) or text),
        text=text,
        data=payload,
        links=link_headers(message.verdict_data.get("cause")),
    )


def _label(alert: Mapping[str, Any]) -> str:
    return "OVER" if alert["status"] == Status.RESOLVED else str(alert["level"]).upper()


def _place(alert: Mapping[str, Any]) -> str:
    return str(alert["device_id"] or alert["group_id"] or alert["metric_name"])


def _reason(alert: Mapping[str, Any]) -> str:
    return str(alert["resolved_reason"] or "cleared").replace("_", " ")


def _lasted(alert: Mapping[str, Any]) -> str:
    if alert["resolved_at"] is None:
        return ""
    seconds = max(0, round((alert["resolved_at"] - alert["triggered_at"]).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}" + (f" {seconds % size // 60}m" if unit == "h" else "")
    return f"{seconds}s"


def _details(alert: Mapping[str, Any], device: Mapping[str, Any] | None) -> list[str]:
    """Who the device is, as far as it is known (R-064)."""
    lines = [f"level {alert['level']}, since {_minute(alert['triggered_at'])}"]
    if alert["resolved_note"] or alert["acknowledged_note"]:
        lines.append(f"note: {alert['resolved_note'] or alert['acknowledged_note']}")
    if device:
        named = [str(device[name]) for name in ("name", "type") if device.get(name)]
        tags = [f"{key}={value}" for key, value in sorted(dict(device.get("tags") or {}).items())]
        if named or tags:
            lines.append(f"device {device['device_id']}: {', '.join([*named, *tags])}")
    return lines


def _minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
