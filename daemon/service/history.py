"""One read of points: the head first, then chunks, so that a compaction in between hides nothing.

What is asked of the points is decided in service/series, service/aggregation and service/export.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from daemon.clock import Clock
from daemon.domain.block import Block, Int32s, Int64s
from daemon.domain.buckets import DAY_US
from daemon.domain.errors import Busy, Invalid
from daemon.domain.merge import EMPTY, merge
from daemon.domain.slices import by_day
from daemon.live.head import Head
from daemon.live.registry import Registry
from daemon.store.chunks import read_points
from daemon.store.pool import Database
from daemon.store.volumes import points_by_day, points_by_series

INLINE_POINTS_MAX = 50_000
"""Columns up to this long are worked on at once; longer ones in a thread, so that the loop goes
on.
"""
READ_POINTS_MAX = 50_000_000
"""One request may look at this many points."""
FUTURE_US = 366 * DAY_US
"""No point lies further ahead than this, whatever ingest tolerates."""
LARGE_READS_MAX = 2
"""Slices of large reads that are worked on at a time; others wait for their turn."""
WAITING_READS_MAX = 64
"""Over this many waiting slices a further read is answered 503."""


class Turns:
    """Lets few large slices be in memory at a time, so that many queries cost time, not memory."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(LARGE_READS_MAX)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises Busy when too many wait."""
        if self._waiting >= WAITING_READS_MAX:
            raise Busy("too many large reads are waiting", retry_after_s=2)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A range of some series: the head as it was when the read began, chunks as they are reached.

    series_ids  int32 (n,)  in any order, each once
    cuts_us     int64 (n,)  nothing older than this is shown, by the retention of each metric
    head        Block       sorted by series, then time
    """

    database: Database
    series_ids: Int32s
    cuts_us: Int64s
    head: Block
    start_us: int
    end_us: int
    turns: Turns

    @property
    def is_small(self) -> bool:
        """Whether so few chunks are in it that planning costs more than reading."""
        days = (self.end_us - self.start_us) // DAY_US + 2
        return len(self.series_ids) * days <= 4

    def part(self, start_us: int, end_us: int) -> Snapshot:
        """The same read of [start_us, end_us), which lies in the range."""
        head = self._head_of(start_us, end_us, None)
        return replace(self, head=head, start_us=start_us, end_us=end_us)

    def cuts_of(self, series_ids: Int32s) -> Int64s:
        """The cut of each of these series."""
        order = np.argsort(self.series_ids)
        return self.cuts_us[order][np.searchsorted(self.series_ids[order], series_ids)]

    async def points(
        self, start_us: int | None = None, end_us: int | None = None, *, of: Int32s | None = None
    ) -> Block:
        """Points of the range or a part of it, sorted by series, then time, each key once."""
        start_us = self.start_us if start_us is None else max(start_us, self.start_us)
        end_us = self.end_us if end_us is None else min(end_us, self.end_us)
        series_ids = self.series_ids if of is None else of
        chunks = await read_points(self.database, series_ids, start_us=start_us, end_us=end_us)
        head = self._head_of(start_us, end_us, of)
        if len(chunks) + len(head) <= INLINE_POINTS_MAX:
            return self._merged(chunks, head, start_us)
        return await asyncio.to_thread(self._merged, chunks, head, start_us)

    async def days(self, *, points_max: int | None = READ_POINTS_MAX) -> tuple[Int64s, Int64s]:
        """(days since 1970 UTC, points) of the range, head and chunks added up.

        Raises Invalid over `points_max`.
        """
        stored = await points_by_day(
            self.database, self.series_ids, start_us=self.start_us, end_us=self.end_us
        )
        own = np.unique(self.head.times_us // DAY_US, return_counts=True)
        volumes = by_day([stored, (own[0], own[1].astype(np.int64))])
        _check_total(int(volumes[1].sum()), points_max)
        return volumes

    async def volumes(self, *, points_max: int | None = READ_POINTS_MAX) -> dict[int, int]:
        """Series id -> about how many points of it lie in the range.

        Raises Invalid over `points_max`.
        """
        stored = await points_by_series(
            self.database, self.series_ids, start_us=self.start_us, end_us=self.end_us
        )
        totals = dict(zip(stored[0].tolist(), stored[1].tolist(), strict=True))
        ids, counts = np.unique(self.head.series_ids, return_counts=True)
        for series_id, count in zip(ids.tolist(), counts.tolist(), strict=True):
            totals[series_id] = totals.get(series_id, 0) + count
        _check_total(sum(totals.values()), points_max)
        return totals

    def _head_of(self, start_us: int, end_us: int, of: Int32s | None) -> Block:
        if not len(self.head):
            return EMPTY
        if start_us <= self.start_us and end_us >= self.end_us and of is None:
            return self.head
        wanted = (self.head.times_us >= start_us) & (self.head.times_us < end_us)
        if of is not None:
            wanted &= np.isin(self.head.series_ids, of)
        return self.head.take(np.flatnonzero(wanted))

    def _merged(self, chunks: Block, head: Block, start_us: int) -> Block:
        merged = merge([chunks, head])
        if int(self.cuts_us.max(initial=start_us)) <= start_us:
            return merged
        kept = merged.times_us >= self.cuts_of(merged.series_ids)
        return merged if kept.all() else merged.take(np.flatnonzero(kept))


@dataclass(frozen=True, slots=True)
class History:
    """Where points are read from."""

    database: Database
    registry: Registry
    head: Head
    clock: Clock
    turns: Turns = field(default_factory=Turns)

    async def snapshot(self, series_ids: Int32s, *, start_us: int, end_us: int) -> Snapshot:
        """Begin a read of [start_us, end_us); the head is read now, before any chunk.

        The range begins later where nothing is kept so long, and ends where no point can be.
        """
        now_us = self.clock.now_us()
        cuts_us = now_us - self.registry.retention_us[series_ids]
        end_us = max(start_us, min(end_us, now_us + FUTURE_US))
        if len(cuts_us):
            start_us = min(max(start_us, int(cuts_us.min())), end_us)
        head = self.head.read(series_ids, start_us=start_us, end_us=end_us)
        if len(head) <= INLINE_POINTS_MAX:
            head = merge([head])
        else:
            head = await asyncio.to_thread(merge, [head])
        return Snapshot(self.database, series_ids, cuts_us, head, start_us, end_us, self.turns)


def _check_total(points: int, points_max: int | None) -> None:
    if points_max is not None and points > points_max:
        raise Invalid(
            f"this would look at about {points} points, more than {points_max}; "
            "name fewer series or a shorter range",
            code="too_many_points",
        )
