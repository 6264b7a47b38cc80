"""How many points each series got in each of the last seconds. What they add up to for a device or
a metric is service/rates' business."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.clock import Clock
from daemon.domain.block import Int32s

SECONDS = 60
"""So many whole seconds are kept; a series that sent in each of them costs 12 bytes a second."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Second:
    """The series that got points in one second, and how many each."""

    second: int
    series_ids: npt.NDArray[np.int64]
    counts: Counts


class SeriesRates:
    """Counting a block is one append to a list; seconds are added up when they are over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._now()
        self._second = self._began
        self._open: list[Int32s] = []
        self._closed: list[_Second | None] = [None] * SECONDS

    def count(self, series_ids: Int32s) -> None:
        """These series got a point each, as often as they are named."""
        self._advance()
        self._open.append(series_ids)

    def sums(self, seconds: int) -> tuple[npt.NDArray[np.int64], Counts]:
        """Series ids ascending with their points in the last `seconds` whole seconds, 1 to 60."""
        self._advance()
        oldest = self._second - seconds
        kept = [s for s in self._closed if s is not None and s.second >= oldest]
        if not kept:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        ids, codes = np.unique(np.concatenate([s.series_ids for s in kept]), return_inverse=True)
        weights = np.concatenate([s.counts for s in kept])
        return ids, np.bincount(codes, weights).astype(np.int64)

    def covered_s(self, seconds: int) -> int:
        """Of so many seconds those that this process has seen; at least one."""
        return max(1, min(seconds, self._now() - self._began))

    def _now(self) -> int:
        return int(self._clock.monotonic_s())

    def _advance(self) -> None:
        now = self._now()
        if now == self._second:
            return
        if self._open:
            ids = np.concatenate(self._open)
            self._open.clear()
            self._closed[self._second % SECONDS] = _Second(self._second, *_counted(ids))
        self._second = now


def _counted(ids: Int32s) -> tuple[npt.NDArray[np.int64], Counts]:
    """The distinct ids ascending, and how often each is there."""
    top = int(ids.max()) + 1
    if top > 8 * len(ids):
        distinct, counts = np.unique(ids, return_counts=True)
        return distinct.astype(np.int64), counts.astype(np.int64)
    # Counting by place is faster than sorting while the places are not much more than the ids.
    by_id: Counts = np.bincount(ids).astype(np.int64)
    found: npt.NDArray[np.int64] = np.flatnonzero(by_id)
    return found, by_id[found]
