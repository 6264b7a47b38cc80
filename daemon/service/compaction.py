"""Turns the journal into history, slice by slice, and merges the pieces of a day.

When it runs, and that only one daemon does, is decided in workers/compactor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from daemon.clock import Clock
from daemon.domain.block import Block, concat, unpack
from daemon.domain.chunk import DAY_US, Int64s
from daemon.domain.encoding import encode
from daemon.domain.latest import LatestPoint
from daemon.domain.merge import EMPTY, winners
from daemon.domain.placement import SMALL_POINTS, SeriesDays, Spans, small_runs
from daemon.domain.rewrite import Outcome, parts_of
from daemon.domain.rollup import add
from daemon.domain.rollup import concat as concat_rollups
from daemon.live.latest import Latest
from daemon.store import compaction as store
from daemon.store.compaction import Changes
from daemon.store.leases import Grant
from daemon.store.pool import Database
from daemon.store.series import SeriesStore

SLICE_BYTES_MAX = 64 * 2**20
# More small pieces than this of a day that is not over yet are merged into one.
PIECES_MAX = 24
# A day that is over is merged when no compaction has touched it for so long.
QUIET_US = 30_000_000
MERGE_DAYS_MAX = 1_000
# A thread that runs Python code gives way to the event loop after so many small steps.
STEPS = 256

SeriesDay = tuple[int, int]
"""A series id and a day since 1970."""

_NO_KEYS = (np.empty(0, np.int32), np.empty(0, np.int64))


class Compaction:
    """Follows the journal from `position`; every method needs the grant of the one compactor.

    After any error of a method, call `begin` again: whether its transaction committed is unknown.
    """

    def __init__(self, database: Database, *, clock: Clock, slice_points: int = 500_000) -> None:
        self._database = database
        self._clock = clock
        self._slice_points = slice_points
        self._latest = Latest()
        # Small pieces, their points, and when touched; only where there is more than one.
        self._split: dict[SeriesDay, tuple[int, int, int]] = {}
        self._has_emptied = False
        self.position = 0

    async def begin(self, position: int) -> None:
        """Start from a position that the lease told; forgets what was known before."""
        self.position = position
        self._latest = Latest()
        for row in await SeriesStore(self._database).latest():
            self._latest.load(row)
        split = await store.read_mergeable(self._database, small_points=SMALL_POINTS)
        self._split = {(s, day): (pieces, points, 0) for s, day, pieces, points in split}

    async def pending(self) -> store.Pending:
        """What waits in the journal."""
        return await store.read_pending(self._database, self.position)

    async def compact(self, grant: Grant) -> bool:
        """Write one slice of the journal to history and move the position; False when none waits.

        Raises LeaseLost, and TryLater when nothing, or nothing for certain, was written.
        """
        rows = await store.read_slice(
            self._database,
            self.position,
            points_max=self._slice_points,
            bytes_max=SLICE_BYTES_MAX,
        )
        if not rows:
            return False
        block, seqs = await asyncio.to_thread(_gather, rows)
        block, seqs = await self._without_deleted(block, seqs)
        to = rows[-1][0]
        if len(block):
            await self._write(grant, block, seqs, to)
        else:
            nothing = Changes(block.series_ids, _NO_KEYS, [])
            await store.write(self._database, grant, nothing, position=self.position, to=to)
        self.position = to
        return True

    async def _without_deleted(self, block: Block, seqs: Int64s) -> tuple[Block, Int64s]:
        """The points of series that still exist; the others were deleted with their history."""
        ids = np.unique(block.series_ids)
        known = await store.read_known(self._database, ids)
        if len(known) == len(ids):
            return block, seqs
        rows = np.flatnonzero(np.isin(block.series_ids, known))
        return block.take(rows), seqs[rows]

    async def _write(self, grant: Grant, block: Block, seqs: Int64s, to: int) -> None:
        days = SeriesDays.of(block)
        spans = await store.read_spans(self._database, days)
        outcome = Outcome()
        for part in await asyncio.to_thread(parts_of, block, days, spans):
            old = EMPTY
            if part.placement.is_read.any():
                old = await store.read_chunks_at(self._database, *part.keys(part.placement.is_read))
            await asyncio.to_thread(outcome.add, part, old)
        fresh, dirty = outcome.rollups()
        known = await store.read_rollups_at(self._database, fresh.series_ids, fresh.hours)
        changes = Changes(
            series_ids=np.unique(block.series_ids),
            removed=outcome.removed(),
            chunks=outcome.chunks,
            rollups=concat_rollups([add(known, fresh), dirty]),
            latest=await asyncio.to_thread(self._newest, block, seqs, to),
        )
        await store.write(self._database, grant, changes, position=self.position, to=to)
        await asyncio.to_thread(self._note_pieces, days, spans, outcome)

    def _newest(self, block: Block, seqs: Int64s, to: int) -> list[LatestPoint]:
        """Rows of the series whose newest point is one of these."""
        for part in _by_objects(block):
            self._latest.append(to, part)
        rows: list[LatestPoint] = []
        last = np.append(np.flatnonzero(np.diff(block.series_ids)), len(block) - 1)
        ids, times = block.series_ids[last].tolist(), block.times_us[last].tolist()
        for at, (series_id, time_us) in enumerate(zip(ids, times, strict=True)):
            _breathe(at)
            point = self._latest.get(series_id)
            if point is not None and point.time_us == time_us:
                rows.append(replace(point, seq=int(seqs[last[at]])))
        return rows

    def _note_pieces(self, days: SeriesDays, spans: Spans, outcome: Outcome) -> None:
        """Remember which of these series-days are in more than one small piece now."""
        stays = spans.points < SMALL_POINTS
        stays[outcome.gone] = False
        pieces = np.bincount(spans.runs[stays], minlength=len(days))
        points = np.bincount(spans.runs[stays], spans.points[stays], minlength=len(days))
        added: dict[SeriesDay, tuple[int, int]] = {}
        for chunk in outcome.chunks:
            if chunk.points < SMALL_POINTS:
                key = (chunk.series_id, chunk.start_us // DAY_US)
                count, total = added.get(key, (0, 0))
                added[key] = (count + 1, total + chunk.points)
        keys = zip(days.series_ids.tolist(), (days.midnights_us // DAY_US).tolist(), strict=True)
        now_us = self._clock.now_us()
        for key, count, total in zip(keys, pieces.tolist(), points.tolist(), strict=True):
            more, extra = added.get(key, (0, 0))
            if count + more > 1:
                self._split[key] = (count + more, int(total) + extra, now_us)
            else:
                self._split.pop(key, None)

    async def merge_some(self, grant: Grant, *, everything: bool = False) -> bool:
        """Merge the pieces of some due series-days, in one transaction; False when none is due.

        Due is a day that is over and quiet, and one in too many pieces; `everything`: all.
        """
        due = self._due(everything=everything)
        if not due:
            return False
        today = self._clock.now_us() // DAY_US
        for is_whole in (False, True):
            keys = [key for key in due if (everything or key[1] < today) == is_whole]
            if keys:
                await self._merge(grant, keys, is_whole=is_whole)
            for key in keys:
                self._split.pop(key, None)
        self._has_emptied = True
        return True

    async def give_back_room(self) -> None:
        """After merges: let the database reuse, or give back, the room of the pieces."""
        if self._has_emptied:
            self._has_emptied = False
            await store.vacuum_pieces(self._database)

    def _due(self, *, everything: bool) -> list[SeriesDay]:
        now_us = self._clock.now_us()
        today = now_us // DAY_US
        due: list[SeriesDay] = []
        room = self._slice_points
        for key, (pieces, points, touched_us) in self._split.items():
            is_quiet = key[1] < today and touched_us <= now_us - QUIET_US
            if pieces > (1 if everything or is_quiet else PIECES_MAX):
                due.append(key)
                room -= points
            if room <= 0 or len(due) >= MERGE_DAYS_MAX:
                break
        return sorted(due)

    async def _merge(self, grant: Grant, due: list[SeriesDay], *, is_whole: bool) -> None:
        ids = np.array([series_id for series_id, _ in due], np.int32)
        known = await store.read_known(self._database, np.unique(ids))
        exists = np.isin(ids, known)
        midnights = np.array([day for _, day in due], np.int64)[exists] * DAY_US
        days = SeriesDays.single(ids[exists], midnights)
        if not len(days):
            return
        spans = await store.read_spans(self._database, days)
        rows, firsts = small_runs(spans)
        if not len(rows):
            return
        keys = days.series_ids[spans.runs[rows]], spans.starts_us[rows]
        block = await store.read_chunks_at(self._database, *keys)
        if len(block) != spans.points[rows].sum():
            # Retention was faster; what is left comes again with the next new piece.
            return
        chunks = await asyncio.to_thread(encode, block, breaks=firsts, is_whole=is_whole)
        await store.replace(self._database, grant, Changes(known, keys, chunks))


def _gather(rows: Sequence[tuple[int, bytes]]) -> tuple[Block, Int64s]:
    """The points of these journal rows by series and time, each key once, with the seq of each."""
    blocks = []
    for at, (_, body) in enumerate(rows):
        _breathe(at)
        blocks.append(unpack(body))
    whole = concat(blocks)
    seqs = np.repeat(np.array([seq for seq, _ in rows], np.int64), [len(block) for block in blocks])
    order = winners(whole.series_ids, whole.times_us)
    return (whole, seqs) if order is None else (whole.take(order), seqs[order])


def _by_objects(block: Block) -> list[Block]:
    """The block in two, so that series without objects are not taken row by row."""
    if not block.objects:
        return [block]
    with_objects = np.unique(block.series_ids[np.fromiter(block.objects, np.intp)])
    has = np.isin(block.series_ids, with_objects)
    parts = [block.take(np.flatnonzero(has)), block.take(np.flatnonzero(~has))]
    return [part for part in parts if len(part)]


def _breathe(step: int) -> None:
    """Let the event loop's thread have the interpreter once in a while."""
    if step % STEPS == STEPS - 1:
        time.sleep(0)
