"""PostgreSQL dies under load, or an answer of it is lost: 503, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import psutil
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from histories import Load, journal_counts, lost, read_all
from proxies import Loss, Proxy, a_proxy
from servers import PostgresServer, launch, start_server, wait_until_ready, wheel_bindir
from stalls import stalls

from daemon.store.pool import Database

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
DOWN_S = 3.0
ASKED_MIN = 45
UNNOTICED_MAX = 30
"""So many answers may come before the probe of health has noticed."""
HANG_S_MAX = 3.0
RECOVERY_S_MAX = 2.0
SEEN_S_MAX = 30.0
"""The load goes on for so long: were it waited for, nothing would be seen."""
ANSWER_S_MAX = 1.0
"""Whether it lives is answered at once; but on a busy machine not each time."""


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    """A server of its own for a test that kills it."""
    server = start_server(wheel_bindir(), fsync=True)
    yield server
    server.stop()


def end(server: PostgresServer, number: signal.Signals) -> None:
    """SIGKILL is a crash, SIGQUIT an immediate shutdown; on return no backend is left, either."""
    backends = psutil.Process(server.process.pid).children(recursive=True)
    server.process.send_signal(number)
    server.process.wait(60)
    _, left = psutil.wait_procs(backends, timeout=60)
    assert left == []


def start_again(server: PostgresServer) -> None:
    server.process = launch(server.folder, server.bindir, server.user, fsync=True)
    wait_until_ready(server, timeout_s=100)


@dataclass
class Asked:
    """How the daemon answered others while the database was down."""

    live: list[int]
    health: list[int]
    took_s: list[float]

    async def ask_until(self, daemon: DaemonProcess, deadline: float) -> None:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=30) as http:
            while time.monotonic() < deadline or len(self.health) < ASKED_MIN:
                for path, found in (("/health/live", self.live), ("/health", self.health)):
                    began = time.monotonic()
                    found.append((await http.get(path)).status_code)
                    self.took_s.append(time.monotonic() - began)
                await asyncio.sleep(0.1)

    @property
    def usual_s(self) -> float:
        return sorted(self.took_s)[len(self.took_s) // 2]


async def an_attempt_since(load: Load, moment_s: float) -> None:
    """Until one that began after the moment was answered: on a busy machine that may take long."""
    async with asyncio.timeout(100):
        while not any(a.began_s > moment_s for a in load.attempts):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
async def test_the_daemon_answers_503_while_postgresql_is_down_and_recovers_by_itself(
    mortal_postgres: PostgresServer, number: signal.Signals
) -> None:
    dsn = await fresh_database(mortal_postgres)
    daemon = await started(dsn, compaction__age="1s")
    load = Load(daemon.url, daemon.key)
    asked = Asked([], [], [])
    async with load.running(), stalls(daemon) as stalled_s:
        await load.wait_for(100)
        await asyncio.to_thread(end, mortal_postgres, number)
        down_s = time.monotonic()
        await asyncio.sleep(0.2)
        await asked.ask_until(daemon, down_s + DOWN_S)
        await an_attempt_since(load, down_s + 0.2)
        up_s = time.monotonic()
        await asyncio.to_thread(start_again, mortal_postgres)
        ready_s = time.monotonic()
        await load.wait_for(1)
        recovered_s = time.monotonic()
        await load.wait_for(200)
    stored = await asyncio.to_thread(read_all, daemon)
    await asyncio.to_thread(daemon.stop)

    begun = [a for a in load.attempts if a.began_s < up_s and a.began_s + a.took_s > down_s]
    # One that is still under way when the database comes back may be done.
    meanwhile = [a for a in begun if a.began_s > down_s + 0.2 and a.began_s + a.took_s < up_s]
    assert lost(load, stored) == []
    assert {a.status for a in meanwhile} == {503}
    assert all(a.retry_after for a in load.attempts if a.status == 503)
    assert max(a.took_s for a in begun) < HANG_S_MAX + max(stalled_s)
    failures = [
        line["exception"][-800:] for line in daemon.log if line["event"] == "request_failed"
    ]
    assert failures == []
    assert set(load.statuses()) == {200, 503}
    assert set(asked.live) == {200}
    assert set(asked.health[UNNOTICED_MAX:]) == {503}
    assert asked.usual_s < ANSWER_S_MAX
    assert recovered_s - ready_s < RECOVERY_S_MAX + 2 * max(stalled_s)


async def test_a_kept_connection_that_was_lost_is_replaced(database: Database) -> None:
    for _ in range(10):
        async with database.kept_connection("ingest") as connection:
            process_id = await connection.fetchval("select pg_backend_pid()")
        async with database.connection("control") as connection:
            is_gone = "select pg_terminate_backend($1, 60_000)"
            assert await connection.fetchval(is_gone, process_id)
        # That it is gone has come here, and is read in a turn of the loop.
        await asyncio.sleep(0.05)
        async with database.kept_connection("ingest") as connection:
            assert await connection.fetchval("select pg_backend_pid()") != process_id


# -- an answer that is lost ----------------------------------------------------------------------


@asynccontextmanager
async def behind_a_proxy(
    server: PostgresServer, **settings: str
) -> AsyncIterator[tuple[Proxy, DaemonProcess, str]]:
    dsn = await fresh_database(server)
    async with a_proxy(server) as proxy:
        through = proxy.dsn(dsn.split("/")[3].split("?")[0])
        daemon = await started(through, **settings)
        try:
            yield proxy, daemon, dsn
        finally:
            await asyncio.to_thread(daemon.stop)


def a_batch(batch_id: str, values: list[float]) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return {
        "batch_id": batch_id,
        "data_points": [
            {"timestamp": now_ms - at, "metric_name": "m", "value": value}
            for at, value in enumerate(values)
        ],
    }


def a_client(daemon: DaemonProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    return httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60)


@pytest.mark.parametrize("sabotage", ["", "forget_batches"])
async def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    durable_postgres: PostgresServer, sabotage: str
) -> None:
    path = "/devices/d1/telemetry/batch"
    async with behind_a_proxy(durable_postgres, sabotage=sabotage) as (proxy, daemon, dsn):
        async with a_client(daemon) as http:
            await http.post("/devices/d1/telemetry", json=a_batch("", [0.0])["data_points"][0])
            proxy.lose = Loss.ANSWER
            body = a_batch("b1", [1.0, 2.0, 3.0])
            first = await http.post(path, json=body)
            again = await http.post(path, json=body)
            third = await http.post(path, json=body)
        counts = await journal_counts(dsn)
    repeats = {value: n for ((_, _, _), value), n in counts.items() if value > 0}

    assert proxy.losses == 1
    assert (first.status_code, first.json()["code"]) == (503, "outcome_unknown")
    assert first.headers["retry-after"]
    if sabotage:
        assert set(repeats.values()) != {1}
        return
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert again.json()["ingested_count"] == 3
    assert third.json() == again.json()
    assert repeats == {1.0: 1, 2.0: 1, 3.0: 1}


async def test_a_commit_that_never_arrived_is_done_by_the_retry(
    durable_postgres: PostgresServer,
) -> None:
    path = "/devices/d1/telemetry/batch"
    async with behind_a_proxy(durable_postgres) as (proxy, daemon, dsn):
        async with a_client(daemon) as http:
            await http.post("/devices/d1/telemetry", json=a_batch("", [0.0])["data_points"][0])
            proxy.lose = Loss.REQUEST
            body = a_batch("b1", [1.0])
            first = await http.post(path, json=body)
            again = await http.post(path, json=body)
        counts = await journal_counts(dsn)

    assert (first.status_code, first.json()["code"]) == (503, "outcome_unknown")
    assert again.status_code == 200
    assert "duplicate" not in again.json()
    assert [n for (_, value), n in counts.items() if value == 1.0] == [1]


async def lose_one(http: httpx.AsyncClient, proxy: Proxy) -> tuple[float, str]:
    """Write until the lost answer is the one to us, not to others of the load: the value that was
    written, and what was said instead."""
    for value in count(1.0):
        proxy.lose = Loss.ANSWER
        body = a_batch(f"b{time.monotonic_ns()}", [value])
        answer = await http.post("/devices/d1/telemetry/batch", json=body)
        if answer.status_code != 200:
            return value, answer.json()["code"]
    raise AssertionError


async def test_a_commit_whose_answer_was_lost_is_soon_seen_although_the_load_goes_on(
    durable_postgres: PostgresServer,
) -> None:
    async with behind_a_proxy(durable_postgres) as (proxy, daemon, _):
        load = Load(daemon.url, daemon.key)
        async with load.running(writers=6), a_client(daemon) as http:
            await http.post("/devices/d1/telemetry", json=a_batch("", [0.0])["data_points"][0])
            await load.wait_for(30)
            start = (await http.get("/latest", params={"device_ids": "d1"})).json()["cursor"]
            lost_value, code = await lose_one(http, proxy)

            async def value() -> float:
                found = await http.get("/devices/d1/metrics/m/latest")
                return float(found.json()["value"])

            deadline = time.monotonic() + SEEN_S_MAX
            while await value() != lost_value:
                assert time.monotonic() < deadline, "the lost commit is not seen"
                await asyncio.sleep(0.02)
            page = await http.get("/changes", params={"after": start, "limit": 10_000, "wait": 2})
        stored = await asyncio.to_thread(read_all, daemon)

    assert code == "outcome_unknown"
    assert page.json()["data_points"]
    assert lost(load, stored) == []
