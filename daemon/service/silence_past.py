"""What a watch for silence has to know before its first look: read in bulk, for all series that are
watched, also those that sent nothing since long before the start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.clock import Clock
from daemon.domain.alerts import GAPS_MAX
from daemon.domain.block import Block, Int32s, Int64s
from daemon.live.latest import Latest
from daemon.service.cadences import Cadences
from daemon.service.history import History
from daemon.store.evaluation import EvaluationStore

RANGES_US = tuple(n * 1_000_000 for n in (120, 600, 3_600, 21_600, 172_800, 864_000, 3_456_000))
"""How far back a cadence is looked for: the next for series that had too few samples in the last,
so that no read is much longer than it must be."""
SERIES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class SilencePast:
    """Reads stored samples and arrival times into cadences."""

    store: EvaluationStore
    history: History
    latest: Latest
    clock: Clock

    async def load(self, cadences: Cadences, series_ids: Int32s, *, judged_us: Int64s) -> None:
        """Know these series as they were at their newest judged samples."""
        if not len(series_ids):
            return
        order = np.argsort(series_ids)
        series_ids, judged_us = series_ids[order], judged_us[order]
        await self._learn(cadences, series_ids, judged_us)
        now_us = self.clock.now_us()
        is_newest = judged_us == self.latest.times_us(series_ids)
        ids, times_us = series_ids[is_newest], judged_us[is_newest]
        seqs = self.latest.seqs(ids)
        arrived = await self.store.arrivals(np.unique(seqs).tolist())
        rows = zip(ids.tolist(), times_us.tolist(), seqs.tolist(), strict=True)
        for series_id, time_us, seq in rows:
            if seq >= 0:
                at_us = min(now_us, arrived.get(seq, time_us))
                cadences.arrive(series_id, newest_us=time_us, arrived_us=at_us)

    async def _learn(self, cadences: Cadences, series_ids: Int32s, judged_us: Int64s) -> None:
        now_us = self.clock.now_us()
        for at in range(0, len(series_ids), SERIES_AT_ONCE):
            left = series_ids[at : at + SERIES_AT_ONCE]
            for range_us in RANGES_US:
                block = await self._read(left, now_us - range_us)
                block = _upto(block, series_ids, judged_us)
                counts = np.bincount(block.series_ids, minlength=int(left.max()) + 1)[left]
                is_last = range_us == RANGES_US[-1]
                done = left if is_last else left[counts > GAPS_MAX]
                rows = np.flatnonzero(np.isin(block.series_ids, done))
                ids, times_us = block.series_ids[rows], block.times_us[rows]
                cadences.hear(ids, times_us, arrived_us=now_us)
                left = left if is_last else left[counts <= GAPS_MAX]
                if not len(left):
                    break

    async def _read(self, series_ids: Int32s, start_us: int) -> Block:
        end_us = 2**62
        snapshot = await self.history.snapshot(series_ids, start_us=start_us, end_us=end_us)
        return await snapshot.points()


def _upto(block: Block, series_ids: Int32s, judged_us: Int64s) -> Block:
    """The rows that are not newer than what was judged; `series_ids` ascend."""
    if not len(block):
        return block
    at = np.searchsorted(series_ids, block.series_ids)
    return block.take(np.flatnonzero(block.times_us <= judged_us[at]))
