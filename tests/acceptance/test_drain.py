"""SIGTERM under load: what was started is answered, what was acknowledged stays, the exit is 0."""

from __future__ import annotations

import asyncio
import signal
import time

import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from histories import Load, lost, read_all
from servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
LEFT_WITHIN_S = 25


async def drained(server: PostgresServer, *, sabotage: str = "") -> tuple[Load, int, list[object]]:
    """The load, the exit code of the daemon it ran into, and what the next one misses."""
    dsn = await fresh_database(server)
    first = await started(dsn, sabotage=sabotage, server__drain_delay_s="0.3")
    load = Load(first.url, first.key)
    async with load.running(writers=12):
        await load.wait_for(200)
        load.gives_up = True
        code = await asyncio.to_thread(first.stop)
        load.is_stopping = True
    second = await started(dsn, home=first.home, key=first.key)
    stored = await asyncio.to_thread(read_all, second)
    await asyncio.to_thread(second.stop)
    return load, code, list(lost(load, stored))


async def test_every_request_that_was_taken_is_answered(postgres: PostgresServer) -> None:
    for _ in range(3):
        load, code, missing = await drained(postgres)
        cut = [a for a in load.attempts if a.status == 0 and not a.is_refused]

        assert code == 0
        assert missing == []
        assert cut == []
        assert set(load.statuses()) <= {0, 200}


async def test_the_check_notices_a_daemon_that_just_leaves(postgres: PostgresServer) -> None:
    load, code, _ = await drained(postgres, sabotage="no_drain")
    cut = [a for a in load.attempts if a.status == 0 and not a.is_refused]

    assert code != 0 or cut


async def test_readers_that_wait_are_let_go(postgres: PostgresServer) -> None:
    daemon = await started(await fresh_database(postgres))
    async with a_client(daemon) as http:
        await http.post("/devices/d1/telemetry", json=a_point())
        begun = await http.get("/changes")
        waiting = asyncio.ensure_future(
            http.get("/changes", params={"after": begun.json()["cursor"], "wait": 60})
        )
        await asyncio.sleep(0.5)
        began_s = time.monotonic()
        code = await asyncio.to_thread(daemon.stop)
        answer = await waiting

    assert code == 0
    assert (answer.status_code, answer.json()["data_points"]) == (200, [])
    assert time.monotonic() - began_s < 5


async def test_an_export_under_way_comes_to_its_end(postgres: PostgresServer) -> None:
    daemon = await started(await fresh_database(postgres), server__drain_timeout_s="20")
    async with a_client(daemon) as http:
        now_us = time.time_ns() // 1000
        for part in range(10):
            times = [now_us - (part * 50_000 + at) * 1000 for at in range(50_000)]
            series = {"device_id": "d1", "metric_name": "m", "timestamps": times}
            await http.post("/columns", json={"series": [series | {"values": [1.5] * 50_000}]})
        lines = 0
        start, end = now_us // 1000 - 1_000_000, now_us // 1000 + 1_000
        whole = {"metric_names": "*", "start_time": str(start), "end_time": str(end)}
        async with http.stream("GET", "/export/csv", params=whole) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for chunk in answer.aiter_bytes():
                if not lines:
                    daemon.process.send_signal(signal.SIGTERM)
                lines += chunk.count(b"\n")
                await asyncio.sleep(0.001)
        code = await asyncio.to_thread(daemon.process.wait, LEFT_WITHIN_S)

    assert lines == 500_001
    assert code == 0


async def test_a_second_sigterm_ends_it_at_once(postgres: PostgresServer) -> None:
    daemon = await started(await fresh_database(postgres), server__drain_delay_s="50")
    daemon.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(daemon.wait_for, "draining")
    async with httpx.AsyncClient() as http:
        ready = await http.get(daemon.url + "/health/ready")
        live = await http.get(daemon.url + "/health/live")
    # Signals that come together count as one.
    await asyncio.sleep(1.2)
    daemon.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(daemon.process.wait, 5)

    assert (ready.status_code, live.status_code) == (503, 200)
    assert code == 1


def a_client(daemon: DaemonProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    return httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60)


def a_point() -> dict[str, object]:
    return {"timestamp": time.time(), "metric_name": "m", "value": 1}
