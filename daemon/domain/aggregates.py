"""Aggregates of points by series and bucket. Where buckets lie is decided in domain/buckets, what
is read in service.

Counts, sums, minima, maxima, first and last come from parts, which fold exactly, so that hourly
rollups and raw points meet in one answer; percentiles, delta and rate need the points themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block, Float64s, Int32s, Int64s

POOLED = -1
PERCENTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99}


class Aggregation(StrEnum):
    """How the points of a bucket become one number."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    MEDIAN = "median"
    P95 = "p95"
    P99 = "p99"
    FIRST = "first"
    LAST = "last"
    RATE = "rate"
    DELTA = "delta"


FOLDING = frozenset(Aggregation) - {
    Aggregation.MEDIAN,
    Aggregation.P95,
    Aggregation.P99,
    Aggregation.RATE,
    Aggregation.DELTA,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What is known of the points of a cell, one row each; a cell is any span of one series.

    `cells` (n,) orders the cells of a series in time; `points` (n,) counts all points, the rest
    covers numbers only and is NaN where `numbers` is 0.
    """

    series_ids: Int32s
    cells: Int64s
    points: Int64s
    numbers: Int64s
    sums: Float64s
    mins: Float64s
    maxs: Float64s
    firsts: Float64s
    lasts: Float64s

    def __len__(self) -> int:
        return len(self.series_ids)

    def take(self, rows: npt.NDArray[Any]) -> Parts:
        return Parts(*(getattr(self, name)[rows] for name in self.__slots__))

    def with_cells(self, cells: Int64s) -> Parts:
        """The same parts in other, coarser cells."""
        return Parts(self.series_ids, cells, *(getattr(self, n) for n in self.__slots__[2:]))


@dataclass(frozen=True, slots=True)
class Aggregated:
    """One number for each series and bucket, in that order; `counts` are the points it was made
    of.
    """

    series_ids: Int32s
    buckets: Int64s
    values: Float64s
    counts: Int64s

    def __len__(self) -> int:
        return len(self.series_ids)

    def take(self, rows: npt.NDArray[Any]) -> Aggregated:
        return Aggregated(
            self.series_ids[rows], self.buckets[rows], self.values[rows], self.counts[rows]
        )


def parts_of(block: Block, cells: Int64s) -> Parts:
    """Parts of a block that is sorted by series and time; `cells` (n,) never fall within a
    series.
    """
    is_number = ~np.isnan(block.numbers)
    ones = np.ones(len(block), np.int64)
    values = block.numbers
    rows = Parts(
        block.series_ids,
        cells,
        ones,
        is_number.astype(np.int64),
        values,
        values,
        values,
        values,
        values,
    )
    return fold(rows)


def join(parts: Sequence[Parts]) -> Parts:
    """All parts sorted by series and cell; cells may stand several times, in the order given."""
    columns = [np.concatenate([getattr(p, n) for p in parts]) for n in Parts.__slots__]
    whole = Parts(*columns)
    return whole.take(np.lexsort((whole.cells, whole.series_ids)))


def pool(parts: Parts) -> Parts:
    """The parts of all series as one; first and last mean nothing afterwards."""
    pooled = parts.take(np.argsort(parts.cells, kind="stable"))
    ids = np.full(len(pooled), POOLED, np.int32)
    return Parts(ids, *(getattr(pooled, name) for name in Parts.__slots__[1:]))


def fold(parts: Parts) -> Parts:
    """One part for each series and cell; the input is sorted by both."""
    if not len(parts):
        return parts
    is_first = _is_first(parts.series_ids, parts.cells)
    if bool(is_first.all()):
        return parts
    starts, group_of = _groups(is_first)
    m = len(starts)
    points = np.add.reduceat(parts.points, starts)
    numbers = np.add.reduceat(parts.numbers, starts)
    folded = np.full((5, m), np.nan)
    filled = np.flatnonzero(parts.numbers)
    if len(filled):
        own = parts if len(filled) == len(parts) else parts.take(filled)
        groups = group_of[filled]
        begins = np.flatnonzero(np.diff(groups, prepend=-1))
        ends = np.append(begins[1:], len(groups)) - 1
        present = groups[begins]
        with np.errstate(over="ignore", invalid="ignore"):
            folded[0, present] = np.add.reduceat(own.sums, begins)
        folded[1, present] = np.minimum.reduceat(own.mins, begins)
        folded[2, present] = np.maximum.reduceat(own.maxs, begins)
        folded[3, present] = own.firsts[begins]
        folded[4, present] = own.lasts[ends]
    return Parts(parts.series_ids[starts], parts.cells[starts], points, numbers, *folded)


def finish(parts: Parts, aggregation: Aggregation) -> Aggregated:
    """The number asked for, where a cell has one."""
    if aggregation == Aggregation.COUNT:
        values = parts.points.astype(np.float64)
        return Aggregated(parts.series_ids, parts.cells, values, parts.points)
    kept = parts if bool(parts.numbers.all()) else parts.take(np.flatnonzero(parts.numbers))
    match aggregation:
        case Aggregation.AVG:
            values = kept.sums / kept.numbers
        case Aggregation.SUM:
            values = kept.sums
        case Aggregation.MIN:
            values = kept.mins
        case Aggregation.MAX:
            values = kept.maxs
        case Aggregation.FIRST:
            values = kept.firsts
        case Aggregation.LAST:
            values = kept.lasts
        case _:
            raise ValueError(f"{aggregation} does not fold")
    return Aggregated(kept.series_ids, kept.cells, values, kept.numbers)


def aggregate(
    block: Block, buckets: Int64s, *, aggregation: Aggregation, is_pooled: bool = False
) -> Aggregated:
    """Any aggregation over points that are sorted by series and time; `buckets` (n,) is the bucket
    of each.

    Pooled, all series count as one: percentiles, first and last over all samples, delta and rate
    added up.
    """
    if aggregation == Aggregation.COUNT:
        parts = parts_of(block, buckets)
        return finish(fold(pool(parts)) if is_pooled else parts, aggregation)
    is_number = ~np.isnan(block.numbers)
    ids, times, values = block.series_ids, block.times_us, block.numbers
    if not is_number.all():
        ids, times = ids[is_number], times[is_number]
        values, buckets = values[is_number], buckets[is_number]
    if not len(ids):
        return Aggregated(ids, buckets, values, buckets)
    if aggregation in (Aggregation.DELTA, Aggregation.RATE):
        return _deltas(_Column(ids, buckets, values), times, aggregation, is_pooled)
    if is_pooled:
        # By time, then series: first and last of all samples are well defined.
        order = np.lexsort((ids, times))
        ids = np.full(len(ids), POOLED, np.int32)
        buckets, values = buckets[order], values[order]
    if aggregation.value in PERCENTILES:
        return _percentiles(_Column(ids, buckets, values), PERCENTILES[aggregation.value])
    numbers_only = Block(ids, times, values)
    return finish(parts_of(numbers_only, buckets), aggregation)


@dataclass(frozen=True, slots=True)
class _Column:
    """Numbers sorted by series and bucket."""

    series_ids: Int32s
    buckets: Int64s
    values: Float64s


def _percentiles(column: _Column, quantile: float) -> Aggregated:
    starts, group_of = _groups(_is_first(column.series_ids, column.buckets))
    counts = np.diff(np.append(starts, len(group_of)))
    values = column.values[np.lexsort((column.values, group_of))]
    rank = (counts - 1) * quantile
    below = np.floor(rank).astype(np.int64)
    low = values[starts + below]
    high = values[starts + np.minimum(below + 1, counts - 1)]
    share = rank - below
    with np.errstate(over="ignore", invalid="ignore"):
        between = low + (high - low) * share
    # The difference of two finite numbers may not be finite.
    between = np.where(np.isfinite(between), between, low * (1 - share) + high * share)
    return Aggregated(column.series_ids[starts], column.buckets[starts], between, counts)


def _deltas(
    column: _Column, times_us: Int64s, aggregation: Aggregation, is_pooled: bool
) -> Aggregated:
    starts, group_of = _groups(_is_first(column.series_ids, column.buckets))
    counts = np.diff(np.append(starts, len(group_of)))
    values = column.values
    gains = np.zeros(len(values))
    with np.errstate(over="ignore"):
        steps = values[1:] - values[:-1]
    # A counter that fell was reset to zero: what it shows now is what it gained since.
    gains[1:] = np.where(steps < 0, values[1:], steps)
    gains[starts] = 0.0
    results = np.add.reduceat(gains, starts)
    ids, buckets = column.series_ids[starts], column.buckets[starts]
    if aggregation == Aggregation.RATE:
        spans_s = (times_us[starts + counts - 1] - times_us[starts]) / 1e6
        # One sample has no rate.
        kept = np.flatnonzero(spans_s)
        results = results[kept] / spans_s[kept]
        ids, buckets, counts = ids[kept], buckets[kept], counts[kept]
    whole = Aggregated(ids, buckets, results, counts)
    return _added_up(whole) if is_pooled else whole


def _added_up(whole: Aggregated) -> Aggregated:
    if not len(whole):
        return whole
    ordered = whole.take(np.argsort(whole.buckets, kind="stable"))
    starts = np.flatnonzero(np.diff(ordered.buckets, prepend=-1))
    return Aggregated(
        np.full(len(starts), POOLED, np.int32),
        ordered.buckets[starts],
        np.add.reduceat(ordered.values, starts),
        np.add.reduceat(ordered.counts, starts),
    )


def _is_first(series_ids: Int32s, cells: Int64s) -> npt.NDArray[np.bool_]:
    """Whether each row begins a run of equal (series, cell)."""
    is_first = np.empty(len(cells), np.bool_)
    is_first[0] = True
    np.not_equal(cells[1:], cells[:-1], out=is_first[1:])
    is_first[1:] |= series_ids[1:] != series_ids[:-1]
    return is_first


def _groups(
    is_first: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """First row of each run, and for each row the number of its run."""
    return np.flatnonzero(is_first), np.cumsum(is_first, dtype=np.int64) - 1
