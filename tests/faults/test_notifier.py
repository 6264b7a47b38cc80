"""Whoever sends messages dies in the middle: none is lost, none is doubled under another id, and
the end never comes before the beginning."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from typing import Any

import pytest
from daemons import DaemonProcess, started
from databases import fresh_database
from receivers import Sink, http_sink
from servers import PostgresServer

from daemon.faults import Point
from daemon.workers.notifier import UNDER_WAY_PER_CHANNEL_MAX

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
SETTINGS = {
    "notifications__allow_hosts": '["127.0.0.1"]',
    "auth__secret_key": base64.b64encode(bytes(range(32))).decode(),
}
DEVICES = 6
LATE_S = 90


def make(daemon: DaemonProcess, path: str, **body: Any) -> None:
    with daemon.http() as http:
        answer = http.post(path, json=body)
        assert answer.status_code == 201, answer.text


def stories(sink: Sink) -> dict[str, list[str]]:
    """What was heard of each alert; repeats of one message count once."""
    found: dict[str, list[str]] = {}
    seen = set()
    for request, (alert, _, status) in zip(list(sink.requests), sink.told, strict=False):
        if request.webhook_id not in seen:
            seen.add(request.webhook_id)
            found.setdefault(alert, []).append(status)
    return found


async def test_a_daemon_killed_between_sending_and_writing_it_down(
    durable_postgres: PostgresServer,
) -> None:
    dsn = await fresh_database(durable_postgres)
    fault = f"{Point.NOTIFICATION_BEFORE_RECORD}:kill:3"
    with http_sink() as sink:
        first = await started(dsn, fault=fault, **SETTINGS)
        make(first, "/channels", name="ops", kind="webhook", url=sink.url)
        make(
            first, "/alerts/rules", name="hot", metric_name="heat", condition=">",
            threshold_value=90, auto_resolve_timeout=2, notification_channels=["ops"],
        )  # fmt: skip
        with first.http() as http:
            now = time.time()
            points = {
                f"oven_{n}": [{"timestamp": now, "metric_name": "heat", "value": 99}]
                for n in range(DEVICES)
            }
            assert http.post("/bulk", json=points).status_code == 200
        assert await asyncio.to_thread(first.process.wait, LATE_S) == -9
        second = await started(dsn, key=first.key, **SETTINGS)
        deadline = time.monotonic() + LATE_S
        while True:
            heard = stories(sink)
            if len(heard) == DEVICES and all(len(told) == 2 for told in heard.values()):
                break
            assert time.monotonic() < deadline, heard
            await asyncio.sleep(0.2)
        second.stop()

    assert set(map(tuple, stories(sink).values())) == {("active", "resolved")}
    # What was under way when it died was sent twice, with the same id.
    times = Counter(request.webhook_id for request in sink.requests)
    assert len(times) == 2 * DEVICES
    assert set(times.values()) == {1, 2}
    assert times.total() <= 2 * DEVICES + UNDER_WAY_PER_CHANNEL_MAX
