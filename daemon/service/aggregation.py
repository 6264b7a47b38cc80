"""Buckets of a snapshot, from hourly rollups where they fit and from points elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from daemon.domain.aggregates import (
    FOLDING,
    Aggregated,
    Aggregation,
    Parts,
    aggregate,
    finish,
    fold,
    join,
    parts_of,
    pool,
)
from daemon.domain.block import Block, Int64s
from daemon.domain.buckets import HOUR_US, Grid
from daemon.domain.slices import groups, slices
from daemon.domain.tags import carries
from daemon.service.history import INLINE_POINTS_MAX, Snapshot
from daemon.store.hours import HOUR_BITS, HOURS, Column, Hours, read_hours

PIECE_POINTS = 5_000_000
"""Hours that rollups can't serve are read in pieces of about this many points ..."""
HOUR_POINTS = 360
"""... at one point in ten seconds."""
_COLUMNS: dict[Aggregation, Column] = {
    Aggregation.COUNT: "count",
    Aggregation.AVG: "sum",
    Aggregation.SUM: "sum",
    Aggregation.MIN: "min",
    Aggregation.MAX: "max",
    Aggregation.FIRST: "first",
    Aggregation.LAST: "last",
}


@dataclass(frozen=True, slots=True)
class Buckets:
    """What to compute where: the grid covers the range of the snapshot."""

    grid: Grid
    aggregation: Aggregation
    is_pooled: bool = False
    tags: tuple[tuple[str, str], ...] = ()

    def fit_rollups(self, start_us: int, end_us: int) -> bool:
        """Whether rollups of full hours can stand for points: pooled, they lose who was first."""
        is_ordered = self.aggregation in (Aggregation.FIRST, Aggregation.LAST)
        return (
            self.aggregation in FOLDING
            and not (self.is_pooled and is_ordered)
            and not self.tags
            and self.grid.is_hourly
            and -(-start_us // HOUR_US) < end_us // HOUR_US
        )


async def aggregate_snapshot(snapshot: Snapshot, wanted: Buckets) -> Aggregated:
    """One number for each series (or all as one) and bucket that has any, in that order."""
    if wanted.fit_rollups(snapshot.start_us, snapshot.end_us):
        return await _from_rollups(snapshot, wanted)
    return await _from_points(snapshot, wanted)


def in_parts(
    snapshot: Snapshot, wanted: Buckets, *, rows: int
) -> Iterator[tuple[Snapshot, Buckets]]:
    """The read in parts, in order of time, for who may have enough before the end.

    The first part has room for that many rows, and each further one for twice as many as the one
    before it, so that few points in a long range take few reads. What rollups can't serve is one
    part.
    """
    grid = wanted.grid
    size = rows // max(1, len(snapshot.series_ids)) + 1
    if size >= len(grid) or not wanted.fit_rollups(snapshot.start_us, snapshot.end_us):
        yield snapshot, wanted
        return
    first, start_us = 0, snapshot.start_us
    while first < len(grid):
        end = min(first + size, len(grid))
        end_us = snapshot.end_us if end == len(grid) else int(grid.starts_us[end])
        yield snapshot.part(start_us, end_us), replace(wanted, grid=grid.part(first, end))
        first, start_us, size = end, end_us, 2 * size


async def _from_points(snapshot: Snapshot, wanted: Buckets) -> Aggregated:
    if snapshot.is_small:
        return await _of_block(await snapshot.points(), wanted)
    found = []
    if len(wanted.grid) == 1 and not wanted.is_pooled:
        # One long bucket can't be cut in time, but its series can be read one after the other.
        for group in groups(await snapshot.volumes()):
            async with snapshot.turns.turn():
                found.append(await _of_block(await snapshot.points(of=group), wanted))
    else:
        days = await snapshot.days()
        for part in slices(
            days, start_us=snapshot.start_us, end_us=snapshot.end_us, grid=wanted.grid
        ):
            async with snapshot.turns.turn():
                block = await snapshot.points(part.start_us, part.end_us)
                found.append(await _of_block(block, wanted))
    if not found:
        return _NOTHING
    columns = [
        np.concatenate([getattr(part, name) for part in found]) for name in Aggregated.__slots__
    ]
    whole = Aggregated(*columns)
    return whole.take(np.lexsort((whole.buckets, whole.series_ids)))


async def _of_block(block: Block, wanted: Buckets) -> Aggregated:
    if len(block) <= INLINE_POINTS_MAX:
        return _compute(block, wanted)
    return await asyncio.to_thread(_compute, block, wanted)


def _compute(block: Block, wanted: Buckets) -> Aggregated:
    if wanted.tags:
        block = carries(block, dict(wanted.tags))
    if not len(block):
        return _NOTHING
    return aggregate(
        block,
        wanted.grid.bucket_of(block.times_us),
        aggregation=wanted.aggregation,
        is_pooled=wanted.is_pooled,
    )


async def _from_rollups(snapshot: Snapshot, wanted: Buckets) -> Aggregated:
    """Full hours from rollups; from points the hours that the range cuts, and those with points
    in the head, whose rollup does not know them.
    """
    first_hour, end_hour = -(-snapshot.start_us // HOUR_US), snapshot.end_us // HOUR_US
    edges = _edges(snapshot)
    dirty = _dirty_keys(snapshot)
    hours = await read_hours(
        snapshot.database,
        snapshot.series_ids,
        start_hour=first_hour,
        end_hour=end_hour,
        column=_COLUMNS[wanted.aggregation],
    )
    parts = [_parts_of_rollups(hours, dirty, snapshot)]
    for piece in _pieces(snapshot, dirty, edges):
        parts.append(await _parts_of_piece(snapshot, piece, dirty))
    return await _finished(parts, wanted)


async def _finished(parts: list[Parts], wanted: Buckets) -> Aggregated:
    if sum(len(p) for p in parts) <= INLINE_POINTS_MAX:
        return _fold_hours(parts, wanted)
    return await asyncio.to_thread(_fold_hours, parts, wanted)


def _fold_hours(parts: list[Parts], wanted: Buckets) -> Aggregated:
    filled = [p for p in parts if len(p)]
    if not filled:
        return _NOTHING
    hours = filled[0] if len(filled) == 1 else join(filled)
    # The hour that the range begins in may begin before the first bucket.
    buckets = np.maximum(wanted.grid.bucket_of(hours.cells * HOUR_US), 0)
    cells = hours.with_cells(buckets)
    return finish(fold(pool(cells) if wanted.is_pooled else cells), wanted.aggregation)


def _edges(snapshot: Snapshot) -> list[int]:
    """Hours that the range begins or ends in the middle of."""
    times = (snapshot.start_us, snapshot.end_us)
    return sorted({time_us // HOUR_US for time_us in times if time_us % HOUR_US})


def _dirty_keys(snapshot: Snapshot) -> Int64s:
    """Series and hours that the head or the end of retention touches, ascending."""
    head = snapshot.head
    keys = [_keys(head.series_ids.astype(np.int64), head.times_us // HOUR_US)]
    cuts_us = snapshot.cuts_us
    cut = np.flatnonzero((cuts_us > snapshot.start_us) & (cuts_us < snapshot.end_us))
    if len(cut):
        ids = snapshot.series_ids[cut].astype(np.int64)
        keys.append(_keys(ids, cuts_us[cut] // HOUR_US))
    return np.unique(np.concatenate(keys))


def _keys(series_ids: Int64s, hours: Int64s) -> Int64s:
    return (series_ids << HOUR_BITS) | hours


def _parts_of_rollups(hours: Hours, dirty: Int64s, snapshot: Snapshot) -> Parts:
    """Parts of which only the column that was read means something."""
    keys, counts, values = hours.keys, hours.counts, hours.values
    if len(dirty) and len(keys):
        is_clean = ~np.isin(keys, dirty)
        keys, counts, values = keys[is_clean], counts[is_clean], values[is_clean]
    ids = (keys >> HOUR_BITS).astype(np.int32)
    cells = keys & HOURS
    parts = Parts(ids, cells, counts, counts, values, values, values, values, values)
    if not bool((snapshot.cuts_us > snapshot.start_us).any()):
        return parts
    # Housekeeping may not have come to them yet; the hour of the cut itself is dirty.
    is_kept = (cells + 1) * HOUR_US > snapshot.cuts_of(ids)
    return parts if is_kept.all() else parts.take(np.flatnonzero(is_kept))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Hours [first, end) to read from points: an edge for all series, others for dirty ones."""

    first: int
    end: int
    is_edge: bool


def _pieces(snapshot: Snapshot, dirty: Int64s, edges: list[int]) -> list[_Piece]:
    """Runs of hours in order, none longer than PIECE_POINTS allow."""
    hours_max = max(1, PIECE_POINTS // (HOUR_POINTS * max(1, len(snapshot.series_ids))))
    of_head = set(np.unique(dirty & HOURS).tolist()) - set(edges)
    pieces = [_Piece(hour, hour + 1, True) for hour in edges]
    for hour in sorted(of_head):
        last = pieces[-1] if pieces else None
        is_next = last is not None and not last.is_edge and last.end == hour
        if last is not None and is_next and hour - last.first < hours_max:
            pieces[-1] = _Piece(last.first, hour + 1, False)
        else:
            pieces.append(_Piece(hour, hour + 1, False))
    return pieces


async def _parts_of_piece(snapshot: Snapshot, piece: _Piece, dirty: Int64s) -> Parts:
    of = None
    if not piece.is_edge:
        hours = dirty & HOURS
        inside = dirty[(hours >= piece.first) & (hours < piece.end)]
        of = np.unique(inside >> HOUR_BITS).astype(np.int32)
    block = await snapshot.points(piece.first * HOUR_US, piece.end * HOUR_US, of=of)
    if len(block) <= INLINE_POINTS_MAX:
        return _parts_of_hours(block, piece, dirty)
    return await asyncio.to_thread(_parts_of_hours, block, piece, dirty)


def _parts_of_hours(block: Block, piece: _Piece, dirty: Int64s) -> Parts:
    hours = block.times_us // HOUR_US
    parts = parts_of(block, hours)
    if piece.is_edge or not len(parts):
        return parts
    # What is not dirty among these hours came from its rollup.
    is_dirty = np.isin(_keys(parts.series_ids.astype(np.int64), parts.cells), dirty)
    return parts if is_dirty.all() else parts.take(np.flatnonzero(is_dirty))


_NOTHING = Aggregated(
    np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
)
