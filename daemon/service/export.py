"""Exports: all points of a range by series and time, or all that came in after a cursor.

How rows are written is decided in domain/csv_rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.block import Block
from daemon.domain.csv_rows import csv_rows
from daemon.domain.cursors import Cursor
from daemon.domain.errors import Busy, Invalid
from daemon.domain.series_name import SeriesName
from daemon.domain.slices import slices
from daemon.service.changes import Changes, ChangesFilter, Gap, Sight
from daemon.service.concurrency import Places
from daemon.service.history import History, Snapshot
from daemon.service.selection import Selection, in_groups, select
from daemon.store.journal import JournalStore

GROUP_POINTS = 200_000
"""Series are read together until they hold this many points; a larger one is read in parts."""
CHUNK_ROWS = 20_000
"""Rows that are written in one go, in a thread."""
EXPORTS_MAX = 8
"""Further exports are answered 503; each holds its part of the head in memory."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An incremental export: CSV in commit order up to `next_cursor`."""

    chunks: AsyncIterator[bytes]
    next_cursor: Cursor
    gap: Gap | None


class Exports:
    """CSV in chunks of bytes; no header row, no connection or snapshot held between chunks."""

    def __init__(
        self,
        history: History,
        *,
        changes: Changes,
        journal: JournalStore,
        clock: Clock,
        group_points: int = GROUP_POINTS,
    ) -> None:
        self._history = history
        self._changes = changes
        self._journal = journal
        self._clock = clock
        self._group_points = group_points
        self.places = Places("exports", each=2)

    async def of_range(
        self,
        principal: Principal,
        wanted: ChangesFilter,
        *,
        start_us: int,
        end_us: int,
        is_raw: bool = False,
    ) -> AsyncIterator[bytes]:
        """Rows of [start_us, end_us) by device, metric and time. Raises Invalid, Busy."""
        if start_us >= end_us:
            raise Invalid("start_time must be before end_time", code="bad_range")
        async with self._place(principal):
            registry = self._history.registry
            selection = select(
                registry,
                principal,
                devices=in_groups(
                    registry, principal, devices=wanted.devices, groups=wanted.groups
                ),
                metrics=wanted.metrics,
                series_max=None,
            )
            snapshot = await self._history.snapshot(
                selection.series_ids, start_us=start_us, end_us=end_us
            )
            async for block in _by_series(snapshot, selection, self._group_points):
                async for chunk in _written(block, selection.names, is_raw):
                    yield chunk

    async def arrivals(
        self,
        principal: Principal,
        wanted: ChangesFilter,
        *,
        after: str,
        settle_s: float = 0.0,
        is_raw: bool = False,
    ) -> Arrivals:
        """What was committed behind the cursor (empty: since the oldest kept), up to now.

        The last `settle_s` seconds are left for next time. Raises Malformed for a bad cursor.
        """
        start, gap = await self._changes.begin(after)
        upto = await self._changes.end()
        if settle_s > 0:
            settled_us = self._clock.now_us() - round(settle_s * 1e6)
            upto = min(upto, await self._journal.end_before(settled_us) or 0)
        end = start if upto <= start.seq else Cursor(start.epoch, upto)
        sight = self._changes.sight(principal, wanted)
        chunks = self._arrived(principal, sight, start=start, upto=upto, is_raw=is_raw)
        return Arrivals(chunks, end, gap)

    async def _arrived(
        self, principal: Principal, sight: Sight, *, start: Cursor, upto: int, is_raw: bool
    ) -> AsyncIterator[bytes]:
        async with self._place(principal):
            async for _, block, offset in self._changes.blocks(start, upto=upto):
                rows = sight.rows_of(block)
                rows = rows[rows >= offset]
                if len(rows):
                    part = block if len(rows) == len(block) else block.take(rows)
                    async for chunk in _written(part, sight.names, is_raw):
                        yield chunk

    @asynccontextmanager
    async def _place(self, principal: Principal) -> AsyncIterator[None]:
        """Count as running meanwhile. Raises Busy when too many are, RateLimited for the key."""
        if self.places.users >= EXPORTS_MAX:
            raise Busy("too many exports are running", retry_after_s=5)
        async with self.places.place(principal):
            yield


async def _by_series(
    snapshot: Snapshot, selection: Selection, group_points: int
) -> AsyncIterator[Block]:
    """All points by series in the order of the selection, then time, in bounded blocks."""
    volumes = await snapshot.volumes(points_max=None)
    group: list[int] = []
    held = 0
    for series_id in selection.series_ids.tolist():
        count = volumes.get(series_id, 0)
        if count > group_points:
            if group:
                yield await _read_group(snapshot, selection, group)
                group, held = [], 0
            async for block in _read_long(snapshot, series_id, group_points):
                yield block
        elif count:
            group.append(series_id)
            held += count
            if held >= group_points:
                yield await _read_group(snapshot, selection, group)
                group, held = [], 0
    if group:
        yield await _read_group(snapshot, selection, group)


async def _read_group(snapshot: Snapshot, selection: Selection, group: list[int]) -> Block:
    block = await snapshot.points(of=np.array(group, np.int32))
    if len(group) == 1 or group == sorted(group) or not len(block):
        return block
    return block.take(np.lexsort((block.times_us, selection.ranks_of(block.series_ids))))


async def _read_long(snapshot: Snapshot, series_id: int, group_points: int) -> AsyncIterator[Block]:
    at = np.flatnonzero(snapshot.series_ids == series_id)
    head_rows = np.flatnonzero(snapshot.head.series_ids == series_id)
    own = replace(
        snapshot,
        series_ids=snapshot.series_ids[at],
        cuts_us=snapshot.cuts_us[at],
        head=snapshot.head.take(head_rows),
    )
    days = await own.days(points_max=None)
    for part in slices(days, start_us=own.start_us, end_us=own.end_us, points=group_points):
        yield await own.points(part.start_us, part.end_us)


async def _written(
    block: Block, names: dict[int, SeriesName], is_raw: bool
) -> AsyncIterator[bytes]:
    for at in range(0, len(block), CHUNK_ROWS):
        rows = np.arange(at, min(at + CHUNK_ROWS, len(block)))
        part = block if len(rows) == len(block) else block.take(rows)
        if len(part) <= 1_000:
            yield csv_rows(part, names, is_raw=is_raw)
        else:
            yield await asyncio.to_thread(csv_rows, part, names, is_raw=is_raw)
