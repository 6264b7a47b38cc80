"""Changes follow the journal: each point once, in commit order, whatever the pages are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import numpy as np
import pytest
from event_builder import an_event
from history_builder import READER, points

from daemon.clock import SystemClock
from daemon.domain.access import Principal
from daemon.domain.block import Block, pack
from daemon.domain.errors import Malformed
from daemon.domain.kinds import Kind
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.service.changes import Changes, ChangesFilter
from daemon.service.tail import Tail
from daemon.store.events import EventStore
from daemon.store.housekeeping import raise_floor
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.workers import follower

pytestmark = pytest.mark.anyio
ALL = ChangesFilter()
NAMES = [("bus-1", "speed", Kind.NUMERIC), ("bus-2", "speed", Kind.NUMERIC)]


class Bench:
    """One process: its journal, its tail and what it answers."""

    def __init__(self, database: Database) -> None:
        self.journal = JournalStore(database, writer=uuid4())
        self.store = SeriesStore(database)
        self.tail = Tail(self.journal, self.store, Registry(), Head(), Latest())
        self.changes = Changes(database, journal=self.journal, tail=self.tail, clock=SystemClock())

    async def append(self, block: Block) -> None:
        version, _ = await self.store.state()
        await self.journal.append(pack(block), points=len(block), catalog_version=version)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        await self.tail.load()
        task = asyncio.ensure_future(follower.run(self.tail))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def bench(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    # What is committed is to be in the answers, however busy this machine is.
    monkeypatch.setattr("daemon.service.changes.CATCH_UP_S", 60.0)
    bench = Bench(database)
    await bench.store.register(NAMES)
    async with bench.following():
        yield bench


def numbered(first: int, count: int, series_id: int = 1) -> Block:
    numbers = np.arange(first, first + count, dtype=np.float64)
    times = np.arange(count, dtype=np.int64) + 1_766_000_000_000_000
    return Block(np.full(count, series_id, np.int32), times, numbers)


async def collect(bench: Bench, limit: int, wanted: ChangesFilter = ALL) -> list[float]:
    values: list[float] = []
    after: str | None = None
    for _ in range(1000):
        page = await bench.changes.page(READER, wanted, after=after, limit=limit)
        values += page.block.numbers.tolist()
        if str(page.cursor) == after:
            return values
        after = str(page.cursor)
    raise AssertionError("the end was never reached")


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10, 1000])
async def test_pages_cover_each_point_once(bench: Bench, limit: int) -> None:
    for at in range(4):
        await bench.append(numbered(at * 5, 5))

    assert await collect(bench, limit) == [float(i) for i in range(20)]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_only_points_that_fit_are_given(bench: Bench, limit: int) -> None:
    await bench.append(numbered(0, 3))
    await bench.append(numbered(10, 3, series_id=2))
    await bench.append(points((1, 5, 3.0), (2, 5, 13.0), context=b'{"tags":{"line":"7"}}'))

    of_one = ChangesFilter(devices=frozenset({"bus-2"}))
    tagged = ChangesFilter(tags={"line": "7"})

    assert await collect(bench, limit, of_one) == [10.0, 11.0, 12.0, 13.0]
    assert await collect(bench, limit, tagged) == [3.0, 13.0]


async def test_a_key_sees_its_own_series_only(bench: Bench) -> None:
    await bench.append(points((1, 5, 3.0), (2, 5, 13.0)))
    narrow = Principal("key_2", "narrow", frozenset({"read"}), devices=("bus-2",))

    page = await bench.changes.page(narrow, ALL, after=None)

    assert page.block.numbers.tolist() == [13.0]
    assert [name.device_id for name in page.names.values()] == ["bus-2"]


async def test_points_of_a_series_that_is_gone_are_left_out(bench: Bench) -> None:
    await bench.append(points((1, 5, 3.0), (77, 5, 13.0)))

    page = await bench.changes.page(READER, ALL, after="")

    assert page.block.numbers.tolist() == [3.0]


async def test_a_waiting_reader_is_answered_with_the_next_point(bench: Bench) -> None:
    start = await bench.changes.page(READER, ALL, after=None)

    async def write_later() -> None:
        await asyncio.sleep(0.1)
        await bench.append(numbered(42, 1))

    writer = asyncio.ensure_future(write_later())
    page = await bench.changes.page(READER, ALL, after=str(start.cursor), wait_s=60)
    await writer

    assert page.block.numbers.tolist() == [42.0]


async def test_a_waiting_reader_is_answered_when_the_daemon_stops(bench: Bench) -> None:
    reader = asyncio.ensure_future(bench.changes.page(READER, ALL, after=None, wait_s=60))
    await asyncio.sleep(0.05)

    bench.tail.close()

    assert len((await asyncio.wait_for(reader, 40)).block) == 0


async def test_positions_that_are_not_kept_any_more_are_a_gap(
    bench: Bench, database: Database
) -> None:
    for at in range(3):
        await bench.append(numbered(at, 1))
    start = (await bench.changes.page(READER, ALL, after=None, limit=1)).cursor
    await raise_floor(database, 2)
    async with database.connection("control") as connection:
        await connection.execute("delete from telemetry.journal where seq <= 2")

    page = await bench.changes.page(READER, ALL, after=str(start))

    assert page.gap is not None
    assert (page.gap.start.seq, page.gap.end.seq, page.gap.reason) == (1, 2, "expired")
    assert page.block.numbers.tolist() == [2.0]


async def test_numbers_of_events_before_the_oldest_block_are_no_gap(
    bench: Bench, database: Database
) -> None:
    start = str((await bench.changes.begin(None))[0])
    await EventStore(database).insert(an_event())
    await bench.append(numbered(0, 2))
    await EventStore(database).insert(an_event())

    page = await bench.changes.page(READER, ALL, after=start)
    again = await bench.changes.page(READER, ALL, after=str(page.cursor))

    assert page.gap is None
    assert page.block.numbers.tolist() == [0.0, 1.0]
    assert (again.gap, len(again.block)) == (None, 0)


async def test_a_cursor_of_another_epoch_is_a_gap(bench: Bench) -> None:
    await bench.append(numbered(0, 2))

    page = await bench.changes.page(READER, ALL, after="zzz-17")

    assert page.gap is not None
    assert page.gap.reason == "epoch"
    assert page.block.numbers.tolist() == [0.0, 1.0]


async def test_a_cursor_that_is_none_of_ours_is_refused(bench: Bench) -> None:
    with pytest.raises(Malformed):
        await bench.changes.page(READER, ALL, after="'; drop table --")


async def test_nothing_is_missed_or_repeated_while_several_processes_write(
    bench: Bench, database: Database
) -> None:
    writers = [Bench(database) for _ in range(3)]

    async def write(at: int, writer: Bench) -> None:
        for turn in range(40):
            await writer.append(numbered(at * 1000 + turn * 5, 5))

    values: list[float] = []
    after: str | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(at, w)) for at, w in enumerate(writers)]
        while not all(task.done() for task in tasks) or len(values) < 600:
            page = await bench.changes.page(READER, ALL, after=after, limit=7, wait_s=0.2)
            values += page.block.numbers.tolist()
            after = str(page.cursor)

    expected = [float(at * 1000 + i) for at in range(3) for i in range(200)]
    assert sorted(values) == expected
    for at in range(3):
        own = [v for v in values if v // 1000 == at]
        assert own == sorted(own)


async def test_now_begins_behind_what_is_committed(bench: Bench) -> None:
    await bench.append(numbered(0, 5))

    start = await bench.changes.page(READER, ALL, after="now")
    await bench.append(numbered(5, 3))
    page = await bench.changes.page(READER, ALL, after=str(start.cursor))

    assert (len(start.block), start.gap) == (0, None)
    assert page.block.numbers.tolist() == [5.0, 6.0, 7.0]
