"""Long reads through a real daemon: few at a time, none for a client that left, and ingest goes
on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, started

pytestmark = pytest.mark.anyio

SLOW_S = 150
"""Longer than any test waits: what ends before was ended."""
END_WITHIN_S = 15.0
"""At once, or a second after the daemon's end; this machine may be busy."""
FOREVER = {"database__query_timeout": f"{SLOW_S}s"}
RANGE = f"{API}/devices/d/metrics/m/range?time_range=24h"
SPAN = "start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z"
# Every read of history takes long from then on, in the database.
SLOWED = f"""
alter table telemetry.chunk rename to chunk_itself;
create view telemetry.chunk as
select c.* from (select pg_sleep({SLOW_S})) as pause left join telemetry.chunk_itself as c on true
offset 0
"""
READING = """
select count(*) from pg_stat_activity
 where application_name = 'telemetryd query' and state = 'active'
   and datname = current_database() and query like '%telemetry.chunk%'
"""


def now_s() -> int:
    return int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one


async def reading(connection: asyncpg.Connection[asyncpg.Record], *, wanted: int) -> float:
    """Seconds until so many backends read chunks."""
    begun_s = time.monotonic()
    while await connection.fetchval(READING) != wanted:
        assert time.monotonic() - begun_s < 60, await connection.fetchval(READING)
        await asyncio.sleep(0.02)
    return time.monotonic() - begun_s


async def slowed(
    dsn: str, **settings: str
) -> tuple[DaemonProcess, asyncpg.Connection[asyncpg.Record]]:
    """A daemon with one point, whose reads of history last."""
    daemon = await started(dsn, **settings)
    async with httpx.AsyncClient(base_url=daemon.url, headers=headers(daemon), timeout=60) as http:
        point = {"timestamp": now_s() - 60, "metric_name": "m", "value": 1}
        (await http.post(f"{API}/devices/d/telemetry", json=point)).raise_for_status()
    connection = await asyncpg.connect(dsn)
    await connection.execute(SLOWED)
    return daemon, connection


def headers(daemon: DaemonProcess) -> dict[str, str]:
    return {"X-Api-Key": daemon.key}


def ask(daemon: DaemonProcess, path: str = RANGE) -> socket.socket:
    """Send a request on a connection of its own, and don't wait."""
    url = urlsplit(daemon.url)
    plain = socket.create_connection((url.hostname, url.port))
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"X-Api-Key: {daemon.key}", "", ""]
    plain.sendall("\r\n".join(lines).encode())
    return plain


@pytest.mark.parametrize(
    "path",
    [RANGE, f"{API}/export/csv?device_ids=*&{SPAN}"],
)
async def test_a_query_ends_in_the_database_when_its_client_has_gone(dsn: str, path: str) -> None:
    daemon, connection = await slowed(dsn, **FOREVER)
    try:
        with ask(daemon, path):
            await reading(connection, wanted=1)

        assert await reading(connection, wanted=0) < END_WITHIN_S
    finally:
        await connection.close()
    assert not [line for line in daemon.log if line.get("event") == "request_failed"]


async def test_a_query_ends_in_the_database_when_the_daemon_was_killed(dsn: str) -> None:
    daemon, connection = await slowed(dsn, **FOREVER)
    try:
        with ask(daemon):
            await reading(connection, wanted=1)
            daemon.kill()

            assert await reading(connection, wanted=0) < END_WITHIN_S
    finally:
        await connection.close()


async def test_the_database_ends_a_statement_that_lasts_too_long(dsn: str) -> None:
    daemon, connection = await slowed(dsn, database__query_timeout="500ms")
    await connection.close()
    async with httpx.AsyncClient(base_url=daemon.url, headers=headers(daemon), timeout=60) as http:
        answer = await http.get(RANGE)

    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_of_fifty_long_queries_of_one_key_eight_run_and_ingest_goes_on(dsn: str) -> None:
    daemon, connection = await slowed(
        dsn, database__query_timeout="12s", limits__wait_for_place="500ms"
    )
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(
            base_url=daemon.url, headers=headers(daemon), limits=limits, timeout=60
        ) as http,
        asyncio.TaskGroup() as tasks,
    ):
        queries = [tasks.create_task(http.get(RANGE)) for _ in range(50)]
        await reading(connection, wanted=8)
        for at in range(50):
            point = {"timestamp": now_s() - at, "metric_name": "n", "value": at}
            assert (await http.post(f"{API}/devices/d/telemetry", json=point)).status_code == 200
            latest = await http.get(f"{API}/devices/d/metrics/m/latest")
            assert latest.status_code == 200
    await connection.close()
    answers = [query.result() for query in queries]

    # The first eight are ended by the database, since they last; the others hear at once.
    assert Counter(answer.status_code for answer in answers) == {503: 8, 429: 42}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "too_many_at_once"
    assert int(refused.headers["retry-after"]) >= 1
