"""Events for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from daemon.domain.events import NewEvent, new_event
from daemon.store.alerts import Act

NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)
NOON_US = round(NOON.timestamp()) * 1_000_000


def an_event(type: str = "deploy.done", message: str = "it went well", **about: Any) -> NewEvent:
    return new_event(type, message, by="key_test", now_us=NOON_US, **about)


def a_deletion(device_id: str) -> dict[str, Any]:
    """What DeviceStore.delete asks for besides the device."""
    return {
        "tell": lambda _: an_event("device.deleted", device_id=device_id),
        "act": Act("key_test", NOON, "device_deleted"),
        "tell_ended": lambda alert: an_event("alert.resolved", dedup_id=alert.alert_id),
    }
