"""A monitor outside hears from the daemon as long as every loop makes progress, and no longer."""

from __future__ import annotations

import time

import pytest
from daemons import start_daemon
from receivers import Sink, http_sink

pytestmark = pytest.mark.anyio


def falls_silent(monitor: Sink) -> bool:
    """Whether nothing comes for ten times as long as between two heartbeats."""
    # One may be under way.
    for _ in range(10):
        before = len(monitor.requests)
        time.sleep(2)
        if len(monitor.requests) == before:
            return True
    return False


@pytest.mark.parametrize("sabotage", ["", "frozen_keys"])
async def test_the_heartbeat_stops_with_any_loop(dsn: str, sabotage: str) -> None:
    with http_sink() as monitor:
        daemon = start_daemon(
            dsn,
            sabotage=sabotage,
            metrics__heartbeat_url=f"{monitor.url}/ping/s3cret",
            metrics__heartbeat_every="200ms",
        )
        try:
            first = monitor.wait_for(2)[0]
            if sabotage:
                daemon.wait_for("loops_stuck")
                assert falls_silent(monitor)
            else:
                monitor.wait_for(len(monitor.requests) + 10)
        finally:
            daemon.kill()

    assert first.path == "/ping/s3cret"
    assert "s3cret" not in str(daemon.log)


async def test_a_monitor_that_is_away_is_told_once(dsn: str) -> None:
    with http_sink() as monitor:
        url = monitor.url
    daemon = start_daemon(
        dsn, metrics__heartbeat_url=f"{url}/ping/s3cret", metrics__heartbeat_every="100ms"
    )
    try:
        said = daemon.wait_for("heartbeat_not_heard")
        time.sleep(0.5)
    finally:
        daemon.kill()

    assert [line["event"] for line in daemon.log].count("heartbeat_not_heard") == 1
    assert "s3cret" not in str(daemon.log)
    assert said["level"] == "warning"
