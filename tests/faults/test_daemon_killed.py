"""kill -9 of the daemon at each named point, under load: what was acknowledged is there, once."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from daemons import DaemonProcess, started
from databases import fresh_database
from histories import Key, Load, eventually, journal_counts, lost, read_all
from servers import PostgresServer

from daemon.faults import Point

pytestmark = [pytest.mark.anyio, pytest.mark.fault]

# How often a point is passed before the kill, so that it comes in the middle of the load.
INGEST_POINTS = {
    Point.INGEST_BEFORE_APPEND: 40,
    Point.INGEST_AFTER_COMMIT: 40,
    Point.INGEST_BEFORE_ANSWER: 40,
    Point.SERIES_REGISTERED: 5,
}
COMPACTION_POINTS = {
    Point.COMPACTION_AFTER_DELETE: 1,
    Point.COMPACTION_AFTER_CHUNKS: 2,
    Point.COMPACTION_BEFORE_POSITION: 2,
    Point.COMPACTION_AFTER_COMMIT: 2,
    Point.MERGE_BEFORE_COMMIT: 1,
}
OFTEN = {"compaction__points": "300", "compaction__age": "1s"}
"""Compaction goes on all the time."""


@dataclass
class Verdict:
    """What became of the points: `doubled` are those of batches that are twice in the journal,
    `strange` those that nobody acknowledged.
    """

    load: Load
    code: int
    exit_code: int
    lost: list[Any]
    doubled: list[Key]
    strange: set[Key]


async def killed(daemon: DaemonProcess, *, timeout_s: float = 100) -> int:
    """The exit code, once the process is gone."""
    return await asyncio.to_thread(daemon.process.wait, timeout_s)


async def restart(daemon: DaemonProcess, dsn: str, **settings: str) -> DaemonProcess:
    """A new process in the same home."""
    return await started(dsn, home=daemon.home, key=daemon.key, **settings)


async def run_into(
    fault: str, server: PostgresServer, *, sabotage: str = "", **load_of: Any
) -> Verdict:
    """Load a daemon until it dies of the fault, go on with a new one, and see what is stored."""
    dsn = await fresh_database(server)
    first = await started(dsn, sabotage=sabotage, fault=fault, **OFTEN)
    load = Load(first.url, first.key, **load_of)
    async with load.running():
        await deaths_of_the_compactor(first, fault)
        code = await killed(first)
        second = await restart(first, dsn, **OFTEN)
        load.point_to(second)
        await load.wait_for(100)
    stored = await asyncio.to_thread(read_all, second)
    counts = await journal_counts(dsn)
    exit_code = await asyncio.to_thread(second.stop)
    doubled = [
        key
        for keys in load.batches.values()
        for key in keys
        if counts[(key, load.acknowledged[key])] > 1
    ]
    strange = stored.keys() - load.acknowledged.keys()
    return Verdict(load, code, exit_code, lost(load, stored), doubled, strange)


async def deaths_of_the_compactor(daemon: DaemonProcess, fault: str) -> None:
    """Faults of the compactor kill its process, twice; then the daemon's is killed, too."""
    if not fault.startswith(("compaction", "merge")):
        return

    def deaths() -> int:
        return sum(line["event"] == "child_died" for line in list(daemon.log))

    await eventually(lambda: deaths() >= 2, timeout_s=300, what="the compactor dies")
    daemon.process.kill()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("point", "passes"), [*INGEST_POINTS.items(), *COMPACTION_POINTS.items()])
async def test_a_daemon_killed_at_this_point_has_lost_and_doubled_nothing(
    durable_postgres: PostgresServer, point: Point, passes: int
) -> None:
    verdict = await run_into(f"{point}:kill:{passes}", durable_postgres)

    assert verdict.code == -9
    assert verdict.lost == []
    assert verdict.doubled == []
    assert verdict.strange == set()
    assert verdict.load.refused == []
    assert set(verdict.load.statuses()) <= {0, 200}
    assert verdict.exit_code == 0


@pytest.mark.timeout(400)
async def test_a_daemon_killed_again_and_again_at_any_moment_has_lost_and_doubled_nothing(
    durable_postgres: PostgresServer,
) -> None:
    chance = random.Random(8218)
    dsn = await fresh_database(durable_postgres)
    daemon = await started(dsn, **OFTEN)
    load = Load(daemon.url, daemon.key)
    async with load.running():
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            await asyncio.to_thread(daemon.kill)
            daemon = await restart(daemon, dsn, **OFTEN)
            load.point_to(daemon)
        await load.wait_for(100)
    stored = await asyncio.to_thread(read_all, daemon)
    await asyncio.to_thread(daemon.stop)

    assert stored == load.acknowledged
    assert set(load.statuses()) <= {0, 200}


@pytest.mark.timeout(600)
async def test_the_check_notices_points_acknowledged_before_their_commit(
    durable_postgres: PostgresServer,
) -> None:
    assert await ever(
        Point.INGEST_BEFORE_APPEND,
        durable_postgres,
        lambda verdict: verdict.lost,
        sabotage="ack_before_commit",
    )


async def ever(
    point: Point, server: PostgresServer, is_so: Callable[[Verdict], Any], **options: Any
) -> bool:
    """Whether a daemon that dies there ever has this verdict: what was corrected since its group
    was lost doesn't count."""
    for passes in range(40, 46):
        if is_so(await run_into(f"{point}:kill:{passes}", server, **options)):
            return True
    return False


@pytest.mark.timeout(600)
async def test_the_check_notices_batches_committed_without_their_ids(
    durable_postgres: PostgresServer,
) -> None:
    # Every group that may be lost is of batches.
    assert await ever(
        Point.INGEST_AFTER_COMMIT,
        durable_postgres,
        lambda verdict: verdict.doubled,
        sabotage="forget_batches",
        forms=("batch",),
    )


async def test_the_check_notices_a_position_that_moves_before_its_history(
    durable_postgres: PostgresServer,
) -> None:
    fault = f"{Point.COMPACTION_BEFORE_POSITION}:kill:2"

    verdict = await run_into(fault, durable_postgres, sabotage="position_first")

    assert verdict.lost


def test_every_point_is_passed_and_has_a_test() -> None:
    root = Path(__file__).parents[2]
    code = "".join(path.read_text() for path in (root / "daemon").rglob("*.py"))
    tests = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))

    assert [p for p in Point if f"(faults.Point.{p.name}" not in code] == []
    assert [p for p in Point if not re.search(rf"\bPoint\.{p.name}\b", tests)] == []
