"""Blocks and events as CloudEvents 1.0."""

from __future__ import annotations

import orjson
import pytest
from event_builder import NOON

from daemon.domain.cloud_events import CloudEvent, of_block, of_event
from daemon.domain.cursors import Cursor
from daemon.domain.events import Event


def stored(type: str = "metric.defined", subject: str | None = "level") -> Event:
    return Event(7, "evt_7", type, "info", subject, "m", '{"a": 1}', None, "level", NOON, "key_1")


def test_a_flush_is_told_by_its_place() -> None:
    told = of_block(Cursor("e1", 41), time=NOON, points=3, devices=["a", "b"])

    assert (told.id, told.type, told.source) == ("e1-41", told.bus_subject, "urn:telemetry:e1")
    assert told.bus_subject == "telemetry.data.received"
    assert orjson.loads(told.data) == {"points": 3, "devices": ["a", "b"], "cursor": "e1-41"}
    assert orjson.loads(told.short)["devices"] == []


def test_an_event_is_told_as_the_feed_shows_it() -> None:
    told = of_event(stored(), epoch="e1")

    assert orjson.loads(told.data) == {
        "event_id": "evt_7", "type": "metric.defined", "severity": "info",
        "timestamp": "2025-12-18T12:00:00Z", "subject": "level", "message": "m", "data": {"a": 1},
    }  # fmt: skip
    assert orjson.loads(told.short)["data"] == {}
    assert orjson.loads(told.short)["data_omitted"] is True


@pytest.mark.parametrize(
    ("type", "subject"),
    [
        ("metric.defined", "metric.defined"),
        ("alert.rule.created", "alert.rule.created"),
        ("device.deleted", "telemetry.event.device.deleted"),
        ("metrics", "telemetry.event.metrics"),
    ],
)
def test_what_no_stream_listens_for_goes_below_telemetry(type: str, subject: str) -> None:
    assert of_event(stored(type), epoch="e1").bus_subject == subject


def test_headers_hold_visible_ascii_only() -> None:
    headers = CloudEvent("i", "t", "s", NOON, b"", b"", 'Zürich\n"a" 5%').headers()

    assert headers["ce-subject"] == "Z%C3%BCrich%0A%22a%22%205%25"
    assert headers["ce-time"] == "2025-12-18T12:00:00Z"
    assert headers["ce-specversion"] == "1.0"


def test_without_a_subject_there_is_no_header_of_it() -> None:
    assert "ce-subject" not in of_event(stored(subject=None), epoch="e1").headers()
