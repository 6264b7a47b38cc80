"""What changes tell, and what they keep to themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import orjson
from event_builder import NOON, NOON_US

from daemon.domain.devices import Device
from daemon.domain.events import Severity
from daemon.domain.tellings import device_deleted, device_updated, key_created, key_rotated


@dataclass(frozen=True)
class AKey:
    """A key with more in it than may be told."""

    key_id: str = "key_7"
    name: str = "gateway"
    scopes: tuple[str, ...] = ("ingest",)
    tier: str = "pro"
    devices: tuple[str, ...] | None = ("a*",)
    groups: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    expires_at: datetime | None = NOON
    secret_hash: bytes = b"never told"


def test_a_key_tells_what_it_may_do_only() -> None:
    told = key_created(AKey(), by="key_1", now_us=NOON_US)

    assert (told.type, told.subject, told.created_by) == ("key.created", "key_7", "key_1")
    assert orjson.loads(orjson.dumps(told.data, option=orjson.OPT_UTC_Z)) == {
        "key_id": "key_7", "name": "gateway", "scopes": ["ingest"], "tier": "pro",
        "devices": ["a*"], "groups": None, "metrics": None, "expires_at": "2025-12-18T12:00:00Z",
    }  # fmt: skip
    assert told.occurred_at == NOON


def test_a_rotation_tells_how_long_the_former_secret_works() -> None:
    told = key_rotated("key_7", "gateway", NOON, by="key_1", now_us=NOON_US)

    assert told.data == {"key_id": "key_7", "name": "gateway", "former_valid_until": NOON}


def test_a_device_tells_what_was_changed() -> None:
    device = Device("d1", None, "bus", {"a": "b"}, {"big": 1}, None, None, NOON, NOON)

    told = device_updated(device, ["tags", "type"], by="key_1", now_us=NOON_US)

    assert told.data == {
        "device_id": "d1", "changed": ["tags", "type"], "tags": {"a": "b"}, "type": "bus",
    }  # fmt: skip
    assert (told.device_id, told.metric_name) == ("d1", None)
    assert told.message == "device d1 is changed: tags, type"


def test_a_deletion_is_a_warning() -> None:
    told = device_deleted("d1", 3, by="key_1", now_us=NOON_US)

    assert (told.severity, told.data) == (Severity.WARNING, {"device_id": "d1", "series": 3})
