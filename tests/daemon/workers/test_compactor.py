"""The compactor against real PostgreSQL: history always equals a dict of what was written."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.domain.block import Block, pack
from daemon.domain.chunk import DAY_US
from daemon.domain.errors import LeaseLost, StoreUnavailable
from daemon.domain.kinds import Kind
from daemon.domain.rollup import HOUR_US, Rollups, roll_up
from daemon.service.compaction import Compaction
from daemon.store import leases
from daemon.store.chunks import read_points
from daemon.store.compaction import SeriesGone
from daemon.store.journal import JournalStore
from daemon.store.leases import read_position
from daemon.store.pool import Database
from daemon.store.rollups import read_rollups
from daemon.store.series import SeriesStore
from daemon.workers import lease as lease_module
from daemon.workers.compactor import Compactor
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio

MIDNIGHT = 1_763_596_800_000_000
SECOND = 1_000_000
Model = dict[tuple[int, int], Any]


class Journal:
    """Writes blocks and keeps the dict that history must equal."""

    def __init__(self, database: Database) -> None:
        self._store = JournalStore(database, writer=uuid4())
        self._series = SeriesStore(database)
        self.model: Model = {}
        self.last_seq = 0

    async def series(self, *kinds: Kind) -> list[int]:
        wanted = [(f"device-{at}", "metric", kind) for at, kind in enumerate(kinds)]
        return sorted(row.series_id for row in await self._series.register(wanted))

    async def write(self, series_id: int, points: dict[int, Any]) -> None:
        """Append one block: time -> float, or an object."""
        n = len(points)
        numbers = [v if isinstance(v, float) else np.nan for v in points.values()]
        objects = {i: v for i, v in enumerate(points.values()) if not isinstance(v, float)}
        block = Block(
            np.full(n, series_id, np.int32),
            np.array(list(points), np.int64),
            np.array(numbers),
            objects=objects,
        )
        await self.append(block)
        self.model.update({(series_id, t): v for t, v in points.items()})

    async def append(self, block: Block) -> None:
        body = pack(block)
        self.last_seq = await self._store.append(body, points=len(block), catalog_version=1)


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


def a_compactor(
    database: Database, *, holder: UUID | None = None, slice_points: int = 500_000
) -> Compactor:
    clock = SystemClock()
    return Compactor(
        Compaction(database, clock=clock, slice_points=slice_points),
        Lease(database, "compactor", holder=holder or uuid4(), clock=clock),
        points=1,
        age=timedelta(0),
    )


def as_model(block: Block) -> Model:
    keys = zip(block.series_ids.tolist(), block.times_us.tolist(), strict=True)
    numbers = block.numbers.tolist()
    return {key: block.objects.get(at, numbers[at]) for at, key in enumerate(keys)}


async def history(database: Database) -> Block:
    ids = np.arange(1, 200, dtype=np.int32)
    return await read_points(database, ids, start_us=0, end_us=2**62)


async def assert_history_is(database: Database, model: Model) -> None:
    block = await history(database)
    keys = list(zip(block.series_ids.tolist(), block.times_us.tolist(), strict=True))

    assert keys == sorted(keys)
    assert as_model(block) == model
    ids = np.arange(1, 200, dtype=np.int32)
    assert_same(await read_rollups(database, ids, start_hour=-100, end_hour=2**30), roll_up(block))


def assert_same(stored: Rollups, computed: Rollups) -> None:
    assert len(stored) == len(computed)
    for mine, theirs in zip(stored.columns(), computed.columns(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


async def pieces(database: Database) -> list[tuple[int, int, int]]:
    async with database.connection("query") as connection:
        rows = await connection.fetch(
            "select series_id, start_us, points from telemetry.chunk order by 1, 2"
        )
    return [(row[0], row[1], row[2]) for row in rows]


def a_day_that_goes_on() -> int:
    """The start of tomorrow, which is not over either when midnight passes meanwhile."""
    return (SystemClock().now_us() // DAY_US + 1) * DAY_US


def every(step_s: float, n: int, *, start_us: int = MIDNIGHT) -> dict[int, Any]:
    return {start_us + round(i * step_s * SECOND): round(20 + i * 0.25, 2) for i in range(n)}


async def test_points_of_the_journal_become_history(database: Database, journal: Journal) -> None:
    one, two = await journal.series(Kind.NUMERIC, Kind.NUMERIC)
    await journal.write(one, every(10, 500))
    await journal.write(two, every(7, 300, start_us=MIDNIGHT + DAY_US - 600 * SECOND))

    await a_compactor(database).run_once(force=True)

    await assert_history_is(database, journal.model)
    # The second series crosses midnight, so it is in two chunks.
    assert [(s, n) for s, _, n in await pieces(database)] == [(one, 500), (two, 86), (two, 214)]
    assert await read_position(database, "compactor") == journal.last_seq


async def test_how_many_are_enough_may_change(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    await journal.write(one, every(10, 50))
    compactor = a_compactor(database)
    compactor.configure(points=51, age=timedelta(days=1))
    had_enough = await compactor.run_once()
    compactor.configure(points=50, age=timedelta(days=1))

    assert (had_enough, await compactor.run_once()) == (False, True)
    await assert_history_is(database, journal.model)


async def test_newer_points_are_a_new_piece_and_add_to_the_rollups(
    database: Database, journal: Journal
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    today = a_day_that_goes_on()
    compactor = a_compactor(database)

    for part in range(3):
        start_us = today + part * 600 * SECOND
        await journal.write(one, every(10, 60, start_us=start_us))
        await compactor.run_once()

    assert [n for _, _, n in await pieces(database)] == [60, 60, 60]
    await assert_history_is(database, journal.model)


async def test_a_late_point_rewrites_its_chunk_only(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    today = a_day_that_goes_on()
    compactor = a_compactor(database)
    for part in range(3):
        await journal.write(one, every(10, 60, start_us=today + part * HOUR_US))
        await compactor.run_once()
    await journal.write(one, {today + HOUR_US + 5 * SECOND: 7.5, today + 3 * HOUR_US: 8.5})

    await compactor.run_once()

    assert [n for _, _, n in await pieces(database)] == [60, 61, 60, 1]
    await assert_history_is(database, journal.model)


async def test_a_point_between_two_chunks_leaves_both(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    today = a_day_that_goes_on()
    compactor = a_compactor(database)
    for part in (0, 2):
        await journal.write(one, every(10, 60, start_us=today + part * HOUR_US))
        await compactor.run_once()
    await journal.write(one, {today + HOUR_US: -1.0})

    await compactor.run_once()

    assert [n for _, _, n in await pieces(database)] == [60, 1, 60]
    await assert_history_is(database, journal.model)


async def test_a_correction_replaces_the_value_in_chunk_and_rollup(
    database: Database, journal: Journal
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    compactor = a_compactor(database)
    await journal.write(one, every(10, 100))
    await compactor.run_once(force=True)
    await journal.write(one, {MIDNIGHT: 1000.0, MIDNIGHT + 990 * SECOND: -3.0})

    await compactor.run_once(force=True)

    await assert_history_is(database, journal.model)
    assert [n for _, _, n in await pieces(database)] == [100]


async def test_the_later_seq_wins_across_slices(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    for value in (1.0, 2.0, 3.0):
        await journal.write(one, {MIDNIGHT: value})

    await a_compactor(database, slice_points=1).run_once(force=True)

    await assert_history_is(database, {(one, MIDNIGHT): 3.0})


async def test_a_day_that_is_over_is_merged_into_one_chunk(
    database: Database, journal: Journal
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    compactor = a_compactor(database, slice_points=100)
    for part in range(5):
        await journal.write(one, every(10, 100, start_us=MIDNIGHT + part * HOUR_US))

    await compactor.run_once(force=True)

    assert [n for _, _, n in await pieces(database)] == [500]
    await assert_history_is(database, journal.model)


async def test_too_many_pieces_of_today_are_merged(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    today = a_day_that_goes_on()
    compactor = a_compactor(database)
    for part in range(26):
        await journal.write(one, every(1, 10, start_us=today + part * 20 * SECOND))
        await compactor.run_once()

    assert [n for _, _, n in await pieces(database)] == [250, 10]
    await assert_history_is(database, journal.model)


async def test_small_pieces_between_large_chunks_are_merged_alone(
    database: Database, journal: Journal
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    compactor = a_compactor(database)
    at = MIDNIGHT
    for n in (50, 12_000, 60, 70, 11_000, 80):
        await journal.write(one, every(1, n, start_us=at))
        await compactor.run_once()
        at += n * SECOND

    await compactor.run_once(force=True)

    assert [n for _, _, n in await pieces(database)] == [50, 12_000, 130, 11_000, 80]
    await assert_history_is(database, journal.model)


async def test_late_points_of_many_series_are_taken_in_parts(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await journal.series(*[Kind.NUMERIC] * 12)
    compactor = a_compactor(database)
    for series_id in ids:
        await journal.write(series_id, every(60, 120))
    await compactor.run_once(force=True)
    for series_id in ids[::2]:
        await journal.write(series_id, {MIDNIGHT + 90 * SECOND: 1.0, MIDNIGHT + DAY_US: 2.0})
    for series_id in ids[1::2]:
        await journal.write(series_id, {MIDNIGHT + 2 * HOUR_US: 3.0})
    monkeypatch.setattr("daemon.domain.rewrite.READ_POINTS_MAX", 200)

    await compactor.run_once(force=True)

    await assert_history_is(database, journal.model)


async def test_objects_and_numbers_of_one_series_come_back_as_they_were(
    database: Database, journal: Journal
) -> None:
    text, numeric, flag = await journal.series(Kind.STRING, Kind.NUMERIC, Kind.BOOLEAN)
    values = [
        "on",
        'a "quoted" ünïcode \\u0000',
        "",
        {"b": [1, 2.5, None], "a": {}},
        [],
        True,
        -0.0,
    ]
    await journal.write(text, {MIDNIGHT + i: v for i, v in enumerate(values)})
    await journal.write(numeric, {MIDNIGHT: 1.0, MIDNIGHT + 1: "broken", MIDNIGHT + 2: 0.1 + 0.2})
    await journal.write(flag, {MIDNIGHT: 1.0, MIDNIGHT + 1: 0.0})

    await a_compactor(database).run_once(force=True)

    await assert_history_is(database, journal.model)


async def test_points_of_a_deleted_series_are_passed_over(
    database: Database, journal: Journal
) -> None:
    one, two = await journal.series(Kind.NUMERIC, Kind.NUMERIC)
    await journal.write(one, every(10, 5))
    await journal.write(two, every(10, 5))
    async with database.connection("control") as connection:
        await connection.execute("delete from telemetry.series where series_id = $1", one)

    await a_compactor(database).run_once(force=True)

    kept = {key: value for key, value in journal.model.items() if key[0] == two}
    await assert_history_is(database, kept)
    assert await read_position(database, "compactor") == journal.last_seq


async def test_a_slice_of_deleted_series_only_moves_the_position(
    database: Database, journal: Journal
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    await journal.write(one, every(10, 5))
    async with database.connection("control") as connection:
        await connection.execute("delete from telemetry.series where series_id = $1", one)

    await a_compactor(database).run_once(force=True)

    assert await pieces(database) == []
    assert await read_position(database, "compactor") == journal.last_seq


async def test_latest_rows_are_those_of_the_newest_points(
    database: Database, journal: Journal
) -> None:
    one, two = await journal.series(Kind.NUMERIC, Kind.STRING)
    await journal.write(one, {MIDNIGHT: 5.0, MIDNIGHT + 1: 6.0, MIDNIGHT + 2: 6.0})
    await journal.write(two, {MIDNIGHT: "a", MIDNIGHT + 1: "b"})
    compactor = a_compactor(database)
    await compactor.run_once(force=True)
    await journal.write(one, {MIDNIGHT + 3: 6.0, MIDNIGHT - 10: 1.0})

    await compactor.run_once(force=True)

    rows = {row.series_id: row for row in await SeriesStore(database).latest()}
    assert (rows[one].time_us, rows[one].value, rows[one].seq) == (MIDNIGHT + 3, 6.0, 3)
    assert (rows[one].changed_at_us, rows[one].previous_value) == (MIDNIGHT + 1, 5.0)
    assert (rows[two].value, rows[two].changed_at_us, rows[two].previous_value) == (
        "b",
        MIDNIGHT + 1,
        "a",
    )


async def test_of_two_compactors_one_writes(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    for part in range(10):
        await journal.write(one, every(10, 50, start_us=MIDNIGHT + part * HOUR_US))
    both = [a_compactor(database, slice_points=50) for _ in range(2)]

    done = await asyncio.gather(*(compactor.run_once(force=True) for compactor in both))

    assert sorted(done) == [False, True]
    await assert_history_is(database, journal.model)


async def test_nothing_is_written_by_a_former_holder(database: Database, journal: Journal) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    await journal.write(one, every(10, 5))
    lease = Lease(database, "compactor", holder=uuid4(), clock=SystemClock())
    compaction = Compaction(database, clock=SystemClock())
    await compaction.begin(await lease.take() or 0)
    former = lease.grant
    assert former is not None
    await expire_lease(database)
    taker = a_compactor(database)
    await taker.run_once(force=True)
    await journal.write(one, {MIDNIGHT: 99.0})

    with pytest.raises(LeaseLost):
        await compaction.compact(former)

    kept = {**journal.model, (one, MIDNIGHT): 20.0}
    await assert_history_is(database, kept)
    await taker.run_once(force=True)
    await assert_history_is(database, journal.model)


async def test_a_released_lease_is_taken_at_once(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever takes it does so because it was given back, not because it ran out.
    monkeypatch.setattr(lease_module, "TTL_S", 600.0)
    monkeypatch.setattr(lease_module, "MARGIN_S", 60.0)
    (one,) = await journal.series(Kind.NUMERIC)
    first = a_compactor(database)
    running = asyncio.ensure_future(first.run())
    await journal.write(one, every(10, 5))
    async with asyncio.timeout(60):
        while await read_position(database, "compactor") < journal.last_seq:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await journal.write(one, {MIDNIGHT: 4.0})

    has_written = await a_compactor(database).run_once(force=True)

    assert has_written
    await assert_history_is(database, journal.model)


@pytest.mark.parametrize("table", ["chunk", "rollup", "latest", "consumer"])
async def test_a_failure_at_any_statement_leaves_no_trace(
    database: Database, journal: Journal, table: str
) -> None:
    (one,) = await journal.series(Kind.NUMERIC)
    compactor = a_compactor(database)
    await journal.write(one, every(10, 50))
    await compactor.run_once(force=True)
    before = dict(journal.model)
    await journal.write(one, {MIDNIGHT + 5 * SECOND: 1.0, MIDNIGHT + DAY_US: 2.0})
    async with database.connection("control") as connection:
        await connection.execute(
            "create function fail() returns trigger language plpgsql as"
            " $$ begin raise exception 'stop' using errcode = '57P01'; end $$"
        )
        event = "update of position" if table == "consumer" else "insert"
        await connection.execute(
            f"create trigger stop after {event} on telemetry.{table} execute function fail()"
        )

    with pytest.raises(StoreUnavailable):
        await compactor.run_once(force=True)

    await assert_history_is(database, before)
    assert await read_position(database, "compactor") == journal.last_seq - 1
    async with database.connection("control") as connection:
        await connection.execute(f"drop trigger stop on telemetry.{table}")
    await compactor.run_once(force=True)
    await assert_history_is(database, journal.model)
    assert await read_position(database, "compactor") == journal.last_seq


async def test_a_series_that_is_being_deleted_gets_no_history(
    database: Database, journal: Journal
) -> None:
    one, two = await journal.series(Kind.NUMERIC, Kind.NUMERIC)
    await journal.write(one, every(10, 5))
    await journal.write(two, every(10, 5))
    compactor = a_compactor(database)
    delete = "delete from telemetry.series where series_id = $1"

    async with database.transaction("query") as deleter:
        await deleter.execute(delete, one)
        compacting = asyncio.ensure_future(compactor.run_once(force=True))
        await until_somebody_waits_for_a_lock(database)
        assert await pieces(database) == []
    with pytest.raises(SeriesGone):
        await compacting
    await compactor.run_once(force=True)

    kept = {key: value for key, value in journal.model.items() if key[0] == two}
    await assert_history_is(database, kept)


async def test_an_expired_lease_is_taken_over_in_a_new_epoch(database: Database) -> None:
    first, second = uuid4(), uuid4()
    taken = await leases.take(database, "compactor", holder=first, ttl_s=60)
    early = await leases.take(database, "compactor", holder=second, ttl_s=60)
    renewed = await leases.take(database, "compactor", holder=first, ttl_s=0.2)
    await asyncio.sleep(0.3)
    late = await leases.take(database, "compactor", holder=second, ttl_s=60)

    assert early is None
    assert taken is not None
    assert renewed is not None
    assert late is not None
    assert renewed[0] == taken[0]
    assert late[0].epoch == taken[0].epoch + 1


async def until_somebody_waits_for_a_lock(database: Database) -> None:
    waiting = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    )
    async with database.connection("control") as connection, asyncio.timeout(60):
        while not await connection.fetchval(waiting):
            await asyncio.sleep(0.02)


async def expire_lease(database: Database) -> None:
    async with database.connection("control") as connection:
        await connection.execute(
            "update telemetry.consumer set lease_expires_at = clock_timestamp() - interval '1 s'"
        )
