"""A shortened retention takes effect when an administrator asks for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from daemons import DaemonProcess, started

pytestmark = pytest.mark.anyio
WITHIN_S = 60.0


def figure(daemon: DaemonProcess, line_start: str) -> float:
    for line in httpx.get(daemon.url + "/metrics", timeout=30).text.splitlines():
        if line.startswith(line_start):
            return float(line.rpartition(" ")[2])
    return 0.0


async def until(is_so: Callable[[], bool], daemon: DaemonProcess) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, daemon.log[-5:]
        await asyncio.sleep(0.2)


async def test_old_points_go_when_housekeeping_is_asked(dsn: str) -> None:
    daemon = await started(dsn, compaction__age="1s")
    old = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    removed = 'telemetry_retention_removed_total{kind="chunks"'
    with daemon.http() as http:
        point = {"metric_name": "flow", "value": 1, "timestamp": old}
        assert http.post("/devices/d/telemetry", json=point).status_code == 200
        await until(lambda: figure(daemon, "telemetry_head_points") == 0, daemon)
        made = http.post(
            "/metrics",
            json={"name": "flow", "data_type": "numeric", "metric_type": "gauge",
                  "retention_days": 1},
        )  # fmt: skip
        assert made.status_code == 201, made.text
        before = figure(daemon, removed)

        asked = http.post("/admin/retention/run", json={})

        await until(lambda: figure(daemon, removed) > before, daemon)
    daemon.stop()

    assert (asked.status_code, asked.json()) == (202, {"requested": True})
    assert before == 0
