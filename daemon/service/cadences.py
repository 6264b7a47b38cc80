"""When each watched series was heard last, and how often it usually is: arrays that grow with the
series, updated by whole blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daemon.domain.alerts import CADENCE_QUANTILE, GAPS_MAX, GAPS_MIN
from daemon.domain.block import Block, Int32s, Int64s
from daemon.live.latest import NEVER_US

UNKNOWN_US = 2**62
"""A cadence nobody knows yet."""


class Cadences:
    """Rows are slots, one for each watched series.

    newest_us   int64  (n,)            event time of the newest sample, NEVER_US before the first
    arrived_us  int64  (n,)            when it arrived
    gaps_us     int64  (n, GAPS_MAX)   the newest gaps, as a ring; UNKNOWN_US where there is none
    """

    def __init__(self) -> None:
        self.slot_of: npt.NDArray[np.int32] = np.full(1024, -1, np.int32)
        self.size = 0
        self.newest_us: Int64s = np.empty(0, np.int64)
        self.arrived_us: Int64s = np.empty(0, np.int64)
        self._gaps_us: npt.NDArray[np.int64] = np.empty((0, GAPS_MAX), np.int64)
        self._counts: Int64s = np.empty(0, np.int64)
        self._usual_us: Int64s = np.empty(0, np.int64)
        self._is_changed: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def watch(self, series_ids: Int32s) -> Int32s:
        """Know of these series; returns those that are new."""
        if len(series_ids):
            self._cover(int(series_ids.max()))
        fresh = series_ids[self.slot_of[series_ids] < 0]
        if not len(fresh):
            return fresh
        self.slot_of[fresh] = np.arange(self.size, self.size + len(fresh), dtype=np.int32)
        self.size += len(fresh)
        more = self.size - len(self.newest_us)
        if more > 0:
            more = max(more, len(self.newest_us))
            self.newest_us = np.append(self.newest_us, np.full(more, NEVER_US))
            self.arrived_us = np.append(self.arrived_us, np.full(more, NEVER_US))
            gaps = np.full((more, GAPS_MAX), UNKNOWN_US)
            self._gaps_us = np.concatenate((self._gaps_us, gaps))
            self._counts = np.append(self._counts, np.zeros(more, np.int64))
            self._usual_us = np.append(self._usual_us, np.full(more, UNKNOWN_US))
            self._is_changed = np.append(self._is_changed, np.zeros(more, np.bool_))
        return fresh

    def _cover(self, series_id: int) -> None:
        if series_id >= len(self.slot_of):
            more = max(len(self.slot_of), series_id + 1 - len(self.slot_of))
            self.slot_of = np.append(self.slot_of, np.full(more, -1, np.int32))

    def rows_of(self, block: Block) -> npt.NDArray[np.intp]:
        """Rows of the block whose series are watched."""
        if not self.size:
            return np.empty(0, np.intp)
        self._cover(int(block.series_ids.max(initial=0)))
        return np.flatnonzero(self.slot_of[block.series_ids] >= 0)

    def hear(self, series_ids: Int32s, times_us: Int64s, *, arrived_us: int) -> None:
        """Samples of watched series, by series, then time; those that are not newer than the
        newest are passed over."""
        slots = self.slot_of[series_ids]
        is_newer = times_us > self.newest_us[slots]
        if not is_newer.all():
            slots, times_us = slots[is_newer], times_us[is_newer]
        n = len(slots)
        if not n:
            return
        is_first = np.ones(n, np.bool_)
        is_first[1:] = slots[1:] != slots[:-1]
        before = np.empty(n, np.int64)
        before[1:] = times_us[:-1]
        before[is_first] = self.newest_us[slots[is_first]]
        self._learn(slots, times_us - before, is_first & (before == NEVER_US))
        is_last = np.append(is_first[1:], True)
        self.newest_us[slots[is_last]] = times_us[is_last]
        self.arrived_us[slots[is_last]] = arrived_us

    def _learn(
        self, slots: npt.NDArray[np.int32], gaps_us: Int64s, is_start: npt.NDArray[np.bool_]
    ) -> None:
        """Put gaps into the rings; rows that have none are those at the start of a series."""
        if is_start.any():
            slots, gaps_us = slots[~is_start], gaps_us[~is_start]
        if not len(slots):
            return
        starts = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        lengths = np.diff(np.append(starts, len(slots)))
        rank = np.arange(len(slots)) - np.repeat(starts, lengths)
        at = (self._counts[slots] + rank) % GAPS_MAX
        # Of more gaps than fit the later ones are written last.
        self._gaps_us[slots, at] = gaps_us
        self._counts[slots[starts]] += lengths
        self._is_changed[slots[starts]] = True

    def place(self, series_id: int, *, newest_us: int, arrived_us: int) -> None:
        """The newest sample of a series whose cadence nobody asks for, or knows."""
        slot = self.slot_of[series_id]
        if newest_us > self.newest_us[slot]:
            self.newest_us[slot], self.arrived_us[slot] = newest_us, arrived_us

    def arrive(self, series_id: int, *, newest_us: int, arrived_us: int) -> None:
        """When the newest sample arrived; it is known already, or the only one that is."""
        slot = self.slot_of[series_id]
        self.newest_us[slot], self.arrived_us[slot] = newest_us, arrived_us

    def usual_us(self) -> Int64s:
        """The usual gap of each slot (domain/alerts.cadence_us); UNKNOWN_US while gaps are few."""
        slots = np.flatnonzero(self._is_changed[: self.size])
        if len(slots):
            ordered = np.sort(self._gaps_us[slots], axis=1)
            known = np.minimum(self._counts[slots], GAPS_MAX)
            at = np.minimum(known - 1, (known * CADENCE_QUANTILE).astype(np.int64))
            usual = ordered[np.arange(len(slots)), at]
            self._usual_us[slots] = np.where(known >= GAPS_MIN, usual, UNKNOWN_US)
            self._is_changed[slots] = False
        return self._usual_us[: self.size]
