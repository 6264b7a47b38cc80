"""Prometheus' Alertmanager: alerts as it takes them from Prometheus itself, API v2."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from daemon.delivery.outbound import Outbound
from daemon.domain.deliveries import Address, Outcome, Outgoing

PATH = "/api/v2/alerts"
OPEN_FOR = timedelta(days=365)
"""Alertmanager ends an alert by itself five minutes after it was told of it last, unless it was
told when it ends; we tell each once."""
CLOCKS_APART = timedelta(seconds=10)
"""What its clock may be behind ours. An end that lies ahead of it, however little, does not count
against that of the open alert, which would stay open: ends are told as that much earlier."""
_LABELS = ("rule_id", "alert_id", "device_id", "group_id", "metric_name")


async def send(outgoing: Outgoing, address: Address, *, outbound: Outbound) -> Outcome:
    """POST it; 200 says that it was taken."""
    body = orjson.dumps(posted(outgoing), option=orjson.OPT_UTC_Z)
    url = address.settings["url"].rstrip("/")
    headers = {"Content-Type": "application/json"}
    username = address.settings.get("username")
    if username is not None:
        pair = f"{username}:{address.secrets.get('password', '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return await outbound.post(url + PATH, body, headers=headers)


def posted(outgoing: Outgoing) -> list[dict[str, Any]]:
    """The alerts of a message; a test is one that ends at once."""
    if not outgoing.alerts:
        return [
            {
                "labels": {"alertname": outgoing.type, "severity": outgoing.level},
                "annotations": {"summary": outgoing.text},
                "startsAt": outgoing.time,
                "endsAt": outgoing.time + timedelta(minutes=1),
            }
        ]
    return [_one(alert) for alert in outgoing.alerts]


def _one(alert: Mapping[str, Any]) -> dict[str, Any]:
    began, ended = _instant(alert["triggered_at"]), alert["resolved_at"]
    if ended is None:
        ends = began + OPEN_FOR
    else:
        ends = _instant(ended) - CLOCKS_APART
        # It refuses an end before the beginning, and takes one at the same moment for none.
        began = min(began, ends - timedelta(seconds=1))
    return {
        "labels": {
            "alertname": alert["rule_name"],
            "severity": alert["level"],
            **{name: alert[name] for name in _LABELS if alert[name]},
        },
        "annotations": {"summary": alert["message"]},
        "startsAt": began,
        "endsAt": ends,
    }


def _instant(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
