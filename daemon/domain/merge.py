"""Puts points in (series, time) order and lets the later one of a key win."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block, concat

EMPTY = Block(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))


def merge(blocks: Sequence[Block]) -> Block:
    """One block sorted by series id, then time, each key once; of equal keys the last in the
    sequence stands."""
    filled = [block for block in blocks if len(block)]
    if not filled:
        return EMPTY
    whole = concat(filled)
    rows = winners(whole.series_ids, whole.times_us)
    return whole if rows is None else whole.take(rows)


def winners(
    series_ids: npt.NDArray[np.int32], times_us: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp] | None:
    """Rows in (series, time) order with the last of each key; None when the input is in that order
    already."""
    n = len(series_ids)
    if n == 1 or _is_strictly_sorted(series_ids, times_us):
        return None
    order = _order(series_ids, times_us)
    ids, times = series_ids[order], times_us[order]
    is_last = np.empty(n, np.bool_)
    is_last[-1] = True
    np.not_equal(ids[1:], ids[:-1], out=is_last[:-1])
    is_last[:-1] |= times[1:] != times[:-1]
    return order if is_last.all() else order[is_last]


def _order(
    series_ids: npt.NDArray[np.int32], times_us: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Rows by series, then time; stable, so that of equal keys the last to arrive stays last."""
    # Most series arrive in the order of time: sorting by id alone does, and of 16 bits numpy sorts
    # by radix.
    small = series_ids.astype(np.uint16) if series_ids.max() < 2**16 else series_ids
    order = np.argsort(small, kind="stable")
    ids, times = series_ids[order], times_us[order]
    if np.all((times[1:] >= times[:-1]) | (ids[1:] != ids[:-1])):
        return order
    return np.lexsort((times_us, series_ids))


def _is_strictly_sorted(series_ids: npt.NDArray[np.int32], times_us: npt.NDArray[np.int64]) -> bool:
    same = series_ids[1:] == series_ids[:-1]
    ascending = times_us[1:] > times_us[:-1]
    return bool(np.all((series_ids[1:] > series_ids[:-1]) | (same & ascending)))


def runs(series_ids: npt.NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """(series id, first row, row after the last) of each run of a sorted column."""
    if not len(series_ids):
        return []
    cuts = np.flatnonzero(series_ids[1:] != series_ids[:-1]) + 1
    starts = [0, *cuts.tolist()]
    ends = [*cuts.tolist(), len(series_ids)]
    return list(zip(series_ids[starts].tolist(), starts, ends, strict=True))
