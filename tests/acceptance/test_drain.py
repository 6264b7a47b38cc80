"""SIGTERM under load: what was started is answered, what was acknowledged stays, the exit is 0."""

from __future__ import annotations

import asyncio
import re
import signal
import time

import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from histories import Load, lost, read_all
from servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.fault, pytest.mark.timeout(600)]
LEFT_WITHIN_S = 120
STALL_S = 0.1
"""A client that does nothing for longer may send on a connection that was kept open for it long
enough, which nobody can take any more."""
ROUNDS = 3
ROUNDS_MAX = 10


class Stalls:
    """How long this process did nothing at most."""

    longest_s = 0.0

    async def watch(self) -> None:
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - began_s - 0.01)


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
    clean = 0
    for _ in range(ROUNDS_MAX):
        stalls = Stalls()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(stalls.watch())
            load, code, missing = await drained(postgres)
            watching.cancel()
        cut = [a for a in load.attempts if a.status == 0 and not a.is_refused]

        assert code == 0
        assert missing == []
        assert set(load.statuses()) <= {0, 200}
        assert cut == [] or stalls.longest_s > STALL_S
        clean += not cut
        if clean == ROUNDS:
            break

    assert clean == ROUNDS


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
        await until_both_are_under_way(http, daemon)
        began_s = time.monotonic()
        code = await asyncio.to_thread(daemon.stop)
        answer = await waiting

    assert code == 0
    assert (answer.status_code, answer.json()["data_points"]) == (200, [])
    # Not the minute that it would have waited.
    assert time.monotonic() - began_s < 30


async def until_both_are_under_way(http: httpx.AsyncClient, daemon: DaemonProcess) -> None:
    """A request that waits, and the one that asks how many there are."""
    async with asyncio.timeout(60):
        while True:
            figures = (await http.get(f"{daemon.url}/metrics")).text
            if re.search(r"^telemetry_http_requests_in_flight{.*} 2\.0$", figures, re.MULTILINE):
                return
            await asyncio.sleep(0.05)


async def test_an_export_under_way_comes_to_its_end(postgres: PostgresServer) -> None:
    daemon = await started(await fresh_database(postgres), server__drain_timeout_s="100")
    async with a_client(daemon) as http:
        now_us = time.time_ns() // 1000
        for part in range(10):
            times = [now_us - (part * 50_000 + at) * 1000 for at in range(50_000)]
            series = {"device_id": "d1", "metric_name": "m", "timestamps": times}
            body = {"series": [series | {"values": [1.5] * 50_000}]}
            assert (await http.post("/columns", json=body)).status_code == 200
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
    code = await asyncio.to_thread(daemon.process.wait, 30)

    assert (ready.status_code, live.status_code) == (503, 200)
    assert code == 1


def a_client(daemon: DaemonProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    return httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60)


def a_point() -> dict[str, object]:
    return {"timestamp": time.time(), "metric_name": "m", "value": 1}
