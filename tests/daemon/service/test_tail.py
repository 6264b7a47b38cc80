"""The tail shows every committed block, also one whose commit was never confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from event_builder import an_event

from daemon.clock import SystemClock
from daemon.domain.block import Block, pack
from daemon.domain.events import Event
from daemon.domain.kinds import Kind
from daemon.domain.latest import LatestPoint
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.live.ring import Entry
from daemon.service.compaction import Compaction
from daemon.service.tail import Tail
from daemon.store.events import EventStore
from daemon.store.journal import JournalRow, JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.workers.compactor import Compactor
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio
START_US = 1_766_059_200_000_000


def a_block(series_id: int, value: float, *, second: int = 0) -> Block:
    times = np.array([START_US + second * 1_000_000], np.int64)
    return Block(np.array([series_id], np.int32), times, np.array([value]))


class Bench:
    """One process: `append` commits, `tail` learns of it only when it is told."""

    def __init__(self, database: Database, series: SeriesStore | None = None) -> None:
        self.database = database
        self.journal = JournalStore(database, writer=uuid4())
        self.series = series or SeriesStore(database)
        self.tail = Tail(self.journal, self.series, Registry(), Head(), Latest())
        self.published: list[Entry] = []
        self.tail.publish = self.published.append

    async def series_id(self) -> int:
        return (await self.series.register([("d1", "m", Kind.NUMERIC)]))[0].series_id

    async def append(self, block: Block) -> int:
        version, _ = await self.series.state()
        return await self.journal.append(pack(block), points=len(block), catalog_version=version)

    async def commit(self, block: Block) -> int:
        """As ingest does: append, then tell the tail."""
        seq = await self.append(block)
        self.tail.apply_own(seq, block)
        return seq

    @property
    def order(self) -> list[int]:
        return [entry.seq for entry in self.published]

    def newest(self, series_id: int) -> float | None:
        found = self.tail.latest.get(series_id)
        return None if found is None else float(found.value)


async def test_a_lost_commit_is_shown_once_a_later_flush_is_confirmed(database: Database) -> None:
    bench = Bench(database)
    series_id = await bench.series_id()
    await bench.tail.load()
    bench.tail.is_flushing = lambda: True
    lost = await bench.append(a_block(series_id, 1.0, second=5))
    await bench.tail.turn()
    before = (bench.tail.position, bench.newest(series_id))
    later = a_block(series_id, 2.0)
    bench.tail.apply_own(await bench.append(later), later)

    await bench.tail.turn()

    assert before == (lost - 1, None)
    assert bench.tail.position == lost + 1
    assert bench.newest(series_id) == 1.0
    assert bench.order == [lost, lost + 1]


async def test_a_start_during_a_compaction_misses_no_newest_point(database: Database) -> None:
    """The compactor of another daemon writes between two reads of a daemon that starts."""

    class Interrupted(SeriesStore):
        async def latest(self) -> list[LatestPoint]:
            rows = await super().latest()
            await compact(database)
            return rows

    bench = Bench(database, Interrupted(database))
    series_id = await bench.series_id()
    await bench.append(a_block(series_id, 1.0))

    await bench.tail.load()

    assert bench.newest(series_id) == 1.0


async def compact(database: Database) -> None:
    clock = SystemClock()
    lease = Lease(database, "compactor", holder=uuid4(), clock=clock)
    compactor = Compactor(Compaction(database, clock=clock), lease, points=1, age=timedelta(0))
    assert await compactor.run_once(force=True)


# -- what is published -----------------------------------------------------------------------------


class Meddling(JournalStore):
    """Does something between a read of the journal and what is done with it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, writer=uuid4())
        self.after_entries: Callable[[], None] = lambda: None
        self.after_one: Callable[[], None] = lambda: None

    async def read_entries(
        self, seq: int, *, limit: int, without_own_bodies: bool = False
    ) -> list[JournalRow | Event]:
        rows = await super().read_entries(seq, limit=limit, without_own_bodies=without_own_bodies)
        self.after_entries()
        return rows

    async def read_one(self, seq: int) -> bytes | None:
        body = await super().read_one(seq)
        self.after_one()
        return body


async def meddled(database: Database) -> tuple[Bench, Meddling, int]:
    bench, journal = Bench(database), Meddling(database)
    bench.journal = bench.tail.journal = journal
    series_id = await bench.series_id()
    await bench.tail.load()
    return bench, journal, series_id


async def skip_a_number(database: Database) -> None:
    async with database.connection("query") as connection:
        await connection.execute("select nextval('telemetry.journal_seq')")


async def test_an_own_commit_is_published_without_a_look_into_the_journal(
    database: Database,
) -> None:
    bench = Bench(database)
    series_id = await bench.series_id()
    await bench.tail.load()

    seqs = [await bench.commit(a_block(series_id, 1.0, second=at)) for at in range(3)]

    assert bench.order == seqs
    assert bench.tail.position == seqs[-1]
    assert await bench.tail.turn() == 0
    assert bench.order == seqs


async def test_an_own_commit_waits_for_that_of_another_daemon_before_it(database: Database) -> None:
    ours, theirs = Bench(database), Bench(database)
    series_id = await ours.series_id()
    await ours.tail.load()
    first = await theirs.append(a_block(series_id, 1.0))
    second = await ours.commit(a_block(series_id, 2.0, second=1))
    before = list(ours.order)

    await ours.tail.turn()

    assert before == []
    assert ours.newest(series_id) == 2.0
    assert ours.order == [first, second]
    third = await ours.commit(a_block(series_id, 3.0, second=2))
    assert ours.order == [first, second, third]


async def test_a_number_that_nobody_used_holds_nothing_up(database: Database) -> None:
    bench = Bench(database)
    series_id = await bench.series_id()
    await bench.tail.load()
    await skip_a_number(database)
    seq = await bench.commit(a_block(series_id, 1.0))
    before = list(bench.order)

    await bench.tail.turn()

    assert before == []
    assert bench.order == [seq]


async def test_events_and_blocks_are_published_in_one_order(database: Database) -> None:
    bench, events = Bench(database), EventStore(database)
    series_id = await bench.series_id()
    await bench.tail.load()
    first = await bench.commit(a_block(series_id, 1.0))
    told = await events.insert(an_event())
    second = await bench.commit(a_block(series_id, 2.0, second=1))

    await bench.tail.turn()

    assert bench.order == [first, told.seq, second]
    assert bench.published[1].event == told


async def test_a_commit_that_a_turn_has_read_already_is_published_once(database: Database) -> None:
    """The answer to the commit comes between the read of the journal and the use of it."""
    bench, journal, series_id = await meddled(database)
    block = a_block(series_id, 1.0)
    seq = await bench.append(block)
    journal.after_entries = lambda: bench.tail.apply_own(seq, block)

    await bench.tail.turn()

    assert bench.order == [seq]
    assert bench.tail.head.points == 1


async def test_a_commit_that_is_told_while_it_is_read_is_published_once(
    database: Database,
) -> None:
    bench, journal, series_id = await meddled(database)
    block = a_block(series_id, 1.0)
    seq = await bench.append(block)
    journal.after_one = lambda: bench.tail.apply_own(seq, block)

    await bench.tail.turn()

    assert bench.order == [seq]
    assert bench.tail.head.points == 1


async def test_commits_behind_one_that_is_not_told_yet_wait_for_it(database: Database) -> None:
    """A flush is under way, another daemon has committed after it, and so have we before."""
    ours, theirs = Bench(database), Bench(database)
    series_id = await ours.series_id()
    await ours.tail.load()
    ours.tail.is_flushing = lambda: True
    block = a_block(series_id, 1.0)
    untold = await ours.append(block)
    behind = await theirs.append(a_block(series_id, 2.0, second=1))
    await ours.tail.turn()
    before = list(ours.order)
    ours.tail.apply_own(untold, block)

    await ours.tail.turn()

    assert before == []
    assert ours.order == [untold, behind]


async def test_two_daemons_publish_the_same_order_of_what_both_commit(database: Database) -> None:
    benches = [Bench(database), Bench(database)]
    events = EventStore(database)
    series_id = await benches[0].series_id()
    for bench in benches:
        await bench.tail.load()
    is_over = asyncio.Event()

    async def write(bench: Bench) -> None:
        for second in range(60):
            if second % 20 == 19:
                await events.insert(an_event())
            if second % 15 == 14:
                await skip_a_number(database)
            await bench.commit(a_block(series_id, float(second), second=second))

    async def follow(bench: Bench) -> None:
        while not is_over.is_set():
            await bench.tail.turn()
            await asyncio.sleep(0.001)
        await bench.tail.turn()

    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(follow(bench)) for bench in benches]
        async with asyncio.TaskGroup() as writers:
            for bench in benches:
                writers.create_task(write(bench))
        is_over.set()
        await asyncio.wait(followers)

    rows = await benches[0].journal.read_entries(0, limit=1_000)
    assert len(rows) == 126
    for bench in benches:
        assert bench.order == [row.seq for row in rows]
        assert bench.tail.head.points == 120


async def test_the_newest_entries_are_handed_on_at_start(database: Database) -> None:
    first = Bench(database)
    series_id = await first.series_id()
    told = await EventStore(database).insert(an_event())
    seqs = [await first.append(a_block(series_id, 1.0, second=at)) for at in range(3)]
    second = Bench(database)
    found: list[tuple[int, list[int]]] = []
    second.tail.preload = lambda position, entries: found.append(
        (position, [entry.seq for entry in entries])
    )

    await second.tail.load()

    assert found == [(told.seq - 1, [told.seq, *seqs])]
    assert second.order == []


async def test_what_is_handed_on_at_start_is_bounded_by_points(database: Database) -> None:
    bench = Bench(database)
    series_id = await bench.series_id()
    seqs = [await bench.append(a_block(series_id, 1.0, second=at)) for at in range(5)]

    rows = await bench.journal.read_newest(upto=seqs[3], limit=100, points=2)

    assert [row.seq for row in rows] == [seqs[3], seqs[2]]


async def test_its_own_health_is_no_sign_that_anybody_sends(database: Database) -> None:
    bench = Bench(database)
    (mine,) = await bench.series.register([("telemetryd", "telemetryd.streams", Kind.NUMERIC)])
    theirs = await bench.series_id()
    await bench.tail.reload_catalog()
    sent = await bench.append(a_block(theirs, 1.0))
    written = await bench.append(a_block(mine.series_id, 0.0))
    await bench.tail.turn()

    assert (bench.tail.position, bench.tail.stored_position) == (written, sent)
