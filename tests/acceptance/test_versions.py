"""The same on the embedded PostgreSQL and on Debian's: written, compacted, read and exported."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from daemons import DaemonProcess, started
from databases import fresh_database
from histories import Load, journal_counts, lost, read_all
from servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.fault]


FSYNC_IS_OFF = {"commits_not_durable"}
"""What a daemon says of the servers of tests."""


@pytest.fixture(params=["postgres", "postgres_15"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


async def test_a_point_goes_all_the_way(server: PostgresServer, tmp_path: Path) -> None:
    dsn = await fresh_database(server)
    daemon = await started(dsn, compaction__points="100", compaction__age="1s")
    load = Load(daemon.url, daemon.key)
    async with load.running():
        await load.wait_for(100)
    await eventually_compacted(dsn)
    stored = read_all(daemon)
    exported = tmp_path / "out.csv"
    daemon.cli("export", "csv", "--since", "1d", "-O", str(exported))
    rows = list(csv.DictReader(io.StringIO(exported.read_text())))
    followed = changes_of(daemon)
    again = await started(dsn, home=daemon.home, key=daemon.key)
    restarted = read_all(again)

    assert lost(load, stored) == []
    assert stored == load.acknowledged == restarted
    assert len(rows) == len(stored)
    assert followed == sum((await journal_counts(dsn)).values())
    assert {line["event"] for line in daemon.log if line.get("level") == "error"} <= FSYNC_IS_OFF


async def eventually_compacted(dsn: str) -> None:
    """Wait until the compactor has passed the whole journal."""
    connection = await asyncpg.connect(dsn)
    deadline = time.monotonic() + 90
    query = (
        "select (select position from telemetry.consumer where name = 'compactor')"
        " >= (select max(seq) from telemetry.journal)"
    )
    while not await connection.fetchval(query):
        assert time.monotonic() < deadline, "never compacted"
        await asyncio.sleep(0.05)
    assert await connection.fetchval("select count(*) from telemetry.point") > 0
    await connection.close()


def changes_of(daemon: DaemonProcess) -> int:
    """How many points /changes gives, page by page."""
    count, parameters = 0, dict[str, Any](limit=1000)
    with daemon.http() as http:
        while True:
            page = http.get("/changes", params=parameters).json()
            if not page["data_points"]:
                return count
            count += len(page["data_points"])
            parameters["after"] = page["cursor"]
