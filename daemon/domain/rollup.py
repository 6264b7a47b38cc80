"""Hourly rollups of each series, computed from points and from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block

HOUR_US = 3_600_000_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rollups:
    """One row per series and hour that has points, sorted by series id, then hour, as columns.

    hours    int32    whole hours since 1970-01-01T00:00Z
    points   int32    all points of the hour
    numbers  int32    points whose value is a number (numeric, or boolean as 0 and 1)
    sums, mins, maxs, firsts, lasts  float64  over the numbers in time order;
             NaN where `numbers` is 0. A sum may be infinite when finite numbers overflow.
    """

    series_ids: npt.NDArray[np.int32]
    hours: npt.NDArray[np.int32]
    points: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int32]
    sums: Floats
    mins: Floats
    maxs: Floats
    firsts: Floats
    lasts: Floats

    def __len__(self) -> int:
        return len(self.hours)

    def columns(self) -> list[npt.NDArray[Any]]:
        """The arrays in the order of the fields."""
        return [getattr(self, column.name) for column in fields(self)]

    def take(self, rows: npt.NDArray[Any]) -> Rollups:
        """The rollups of these rows, or of the rows where a mask is true."""
        return Rollups(*(column[rows] for column in self.columns()))


_NO_INTS = np.empty(0, np.int32)
_NO_FLOATS = np.empty(0, np.float64)
NO_ROLLUPS = Rollups(
    _NO_INTS,
    _NO_INTS,
    _NO_INTS,
    _NO_INTS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
)


def roll_up(block: Block) -> Rollups:
    """The rollups of points that are sorted by series, then time, each key once."""
    n = len(block)
    if not n:
        return NO_ROLLUPS
    hours = (block.times_us // HOUR_US).astype(np.int32)
    is_start = np.ones(n, np.bool_)
    is_start[1:] = (block.series_ids[1:] != block.series_ids[:-1]) | (hours[1:] != hours[:-1])
    starts = np.flatnonzero(is_start)
    is_number = ~np.isnan(block.numbers)
    counts = np.add.reduceat(is_number, starts, dtype=np.int32)
    numbers = block.numbers
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(np.where(is_number, numbers, 0.0), starts)
    sums[counts == 0] = np.nan
    # The place of the first and the last number among all numbers, hour by hour.
    ends = np.cumsum(counts)
    only = numbers[is_number] if is_number.any() else np.array([np.nan])
    has = counts > 0
    return Rollups(
        block.series_ids[starts],
        hours[starts],
        np.diff(starts, append=n).astype(np.int32),
        counts,
        sums,
        np.fmin.reduceat(numbers, starts),
        np.fmax.reduceat(numbers, starts),
        np.where(has, only[np.minimum(ends - counts, len(only) - 1)], np.nan),
        np.where(has, only[np.maximum(ends - 1, 0)], np.nan),
    )


def add(older: Rollups, newer: Rollups) -> Rollups:
    """The rollups of `newer`'s hours with what `older` knows of them; its points are all earlier.

    Hours that only `older` has are left out.
    """
    if not len(older):
        return newer
    keys = _keys(older)
    at = np.minimum(np.searchsorted(keys, _keys(newer)), len(keys) - 1)
    known = keys[at] == _keys(newer)
    has_old = known & (older.numbers[at] > 0)
    has_new = newer.numbers > 0
    has_both = has_old & has_new

    def pick(old: Floats, new: Floats, combined: Floats) -> Floats:
        return np.where(has_both, combined, np.where(has_old, old, new))

    sums, mins, maxs = older.sums[at], older.mins[at], older.maxs[at]
    firsts, lasts = older.firsts[at], older.lasts[at]
    with np.errstate(over="ignore", invalid="ignore"):
        return Rollups(
            newer.series_ids,
            newer.hours,
            newer.points + np.where(known, older.points[at], 0).astype(np.int32),
            newer.numbers + np.where(known, older.numbers[at], 0).astype(np.int32),
            pick(sums, newer.sums, sums + newer.sums),
            pick(mins, newer.mins, np.fmin(mins, newer.mins)),
            pick(maxs, newer.maxs, np.fmax(maxs, newer.maxs)),
            pick(firsts, newer.firsts, firsts),
            pick(lasts, newer.lasts, newer.lasts),
        )


def concat(parts: Sequence[Rollups]) -> Rollups:
    """All of them, one after the other; not sorted."""
    if not parts:
        return NO_ROLLUPS
    columns = zip(*(part.columns() for part in parts), strict=True)
    return Rollups(*(np.concatenate(column) for column in columns))


def _keys(rollups: Rollups) -> npt.NDArray[np.int64]:
    """One ascending number per series and hour; hours before 1970 are negative."""
    hours = rollups.hours.astype(np.int64) + 2**31
    return (rollups.series_ids.astype(np.int64) << 32) + hours
