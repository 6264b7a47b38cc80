"""The tail shows every committed block, also one whose commit was never confirmed."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.domain.block import Block, pack
from daemon.domain.kinds import Kind
from daemon.domain.latest import LatestPoint
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.service.compaction import Compaction
from daemon.service.tail import Tail
from daemon.store.journal import JournalStore
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

    async def series_id(self) -> int:
        return (await self.series.register([("d1", "m", Kind.NUMERIC)]))[0].series_id

    async def append(self, block: Block) -> int:
        version, _ = await self.series.state()
        return await self.journal.append(pack(block), points=len(block), catalog_version=version)

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
