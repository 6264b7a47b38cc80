"""The newest point of every series, in memory: arrays indexed by series id that follow the
journal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.latest import LatestPoint
from daemon.domain.merge import winners

NEVER_US = -(2**62)
PENDING_POINTS_MAX = 32_768


class Latest:
    """Applies blocks lazily: a block costs nothing until somebody reads, or enough are waiting."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Block]] = []
        self._pending_points = 0
        self._objects: dict[int, Any] = {}
        self._previous: dict[int, Any] = {}
        self._contexts: dict[int, bytes] = {}
        self._times_us: npt.NDArray[np.int64] = np.full(1024, NEVER_US, np.int64)
        self._seqs: npt.NDArray[np.int64] = np.full(1024, -1, np.int64)
        self._numbers: npt.NDArray[np.float64] = np.full(1024, np.nan)
        self._changed_us: npt.NDArray[np.int64] = np.full(1024, NEVER_US, np.int64)
        self._previous_numbers: npt.NDArray[np.float64] = np.full(1024, np.nan)

    def append(self, seq: int, block: Block) -> None:
        """Take a committed block."""
        self._pending.append((seq, block))
        self._pending_points += len(block)
        if self._pending_points >= PENDING_POINTS_MAX:
            self._settle()

    def load(self, point: LatestPoint) -> None:
        """Take a stored row at start."""
        self._grow(point.series_id)
        self._store(point.series_id, point.time_us, point.seq, point.value, point.context)
        self._changed_us[point.series_id] = point.changed_at_us
        self._remember_previous(point.series_id, point.previous_value)

    def get(self, series_id: int) -> LatestPoint | None:
        """The newest point of a series, or None when it has none."""
        if self._pending:
            self._settle()
        if series_id >= len(self._times_us) or self._seqs[series_id] < 0:
            return None
        number = float(self._numbers[series_id])
        previous = float(self._previous_numbers[series_id])
        return LatestPoint(
            series_id,
            int(self._times_us[series_id]),
            int(self._seqs[series_id]),
            self._objects[series_id] if number != number else number,
            self._contexts.get(series_id),
            int(self._changed_us[series_id]),
            self._previous.get(series_id) if previous != previous else previous,
        )

    def times_us(self, series_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Time of the newest point of each; NEVER_US where there is none."""
        if self._pending:
            self._settle()
        if len(series_ids):
            self._grow(int(series_ids.max()))
        return self._times_us[series_ids]

    def seqs(self, series_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Position of the newest point of each; -1 where there is none."""
        if self._pending:
            self._settle()
        if len(series_ids):
            self._grow(int(series_ids.max()))
        return self._seqs[series_ids]

    def forget(self, series_id: int) -> None:
        """Drop a series that was deleted."""
        self._settle()
        if series_id < len(self._seqs):
            self._seqs[series_id] = -1
            self._times_us[series_id] = NEVER_US
            for kept in (self._objects, self._previous, self._contexts):
                kept.pop(series_id, None)

    def _settle(self) -> None:
        pending, self._pending, self._pending_points = self._pending, [], 0
        for seq, block in pending:
            self._apply(seq, block)

    def _grow(self, series_id: int) -> None:
        size = len(self._times_us)
        if series_id < size:
            return
        more = max(size * 2, series_id + 1) - size
        self._times_us = np.append(self._times_us, np.full(more, NEVER_US, np.int64))
        self._seqs = np.append(self._seqs, np.full(more, -1, np.int64))
        self._numbers = np.append(self._numbers, np.full(more, np.nan))
        self._changed_us = np.append(self._changed_us, np.full(more, NEVER_US, np.int64))
        self._previous_numbers = np.append(self._previous_numbers, np.full(more, np.nan))

    def _apply(self, seq: int, block: Block) -> None:
        self._grow(int(block.series_ids.max()))
        if len(block) <= 8 or block.objects:
            self._apply_rows(seq, block)
            return
        rows = winners(block.series_ids, block.times_us)
        if rows is not None:
            block = block.take(rows)
        ids, times = block.series_ids, block.times_us
        known = self._times_us[ids]
        is_newer = (times > known) | ((times == known) & (seq > self._seqs[ids]))
        if not is_newer.all():
            if not is_newer.any():
                return
            block = block.take(np.flatnonzero(is_newer))
        self._apply_numbers(seq, block)

    def _apply_rows(self, seq: int, block: Block) -> None:
        """One row at a time, for small blocks and for objects."""
        order = winners(block.series_ids, block.times_us)
        numbers = block.numbers.tolist()
        ids, times = block.series_ids.tolist(), block.times_us.tolist()
        for row in range(len(ids)) if order is None else order.tolist():
            series_id, time_us = ids[row], times[row]
            known_us = int(self._times_us[series_id])
            if time_us < known_us or (time_us == known_us and seq <= self._seqs[series_id]):
                continue
            number = numbers[row]
            value = block.objects[row] if number != number else number
            self._note_change(series_id, time_us, value)
            context = None
            if block.context_of is not None and block.context_of[row] >= 0:
                context = block.contexts[int(block.context_of[row])]
            self._store(series_id, time_us, seq, value, context)

    def _note_change(self, series_id: int, time_us: int, value: Any) -> None:
        if self._seqs[series_id] < 0:
            self._changed_us[series_id] = time_us
            return
        number = float(self._numbers[series_id])
        known = self._objects[series_id] if number != number else number
        if known == value and type(known) is type(value):
            return
        # A correction of the very point that began the run keeps what was before it.
        if not (self._times_us[series_id] == time_us == self._changed_us[series_id]):
            self._remember_previous(series_id, known)
        self._changed_us[series_id] = time_us

    def _remember_previous(self, series_id: int, value: Any) -> None:
        if isinstance(value, float):
            self._previous_numbers[series_id] = value
            self._previous.pop(series_id, None)
        else:
            self._previous_numbers[series_id] = np.nan
            self._previous[series_id] = value

    def _store(
        self, series_id: int, time_us: int, seq: int, value: Any, context: bytes | None
    ) -> None:
        self._times_us[series_id] = time_us
        self._seqs[series_id] = seq
        if isinstance(value, float):
            self._numbers[series_id] = value
            self._objects.pop(series_id, None)
        else:
            self._numbers[series_id] = np.nan
            self._objects[series_id] = value
        if context is None:
            self._contexts.pop(series_id, None)
        else:
            self._contexts[series_id] = context

    def _apply_numbers(self, seq: int, block: Block) -> None:
        """Rows of numbers, sorted by series and time, all newer than what is known."""
        ids, times, numbers = block.series_ids, block.times_us, block.numbers
        if self._objects and any(int(i) in self._objects for i in np.unique(ids)):
            self._apply_rows(seq, block)
            return
        firsts = np.concatenate(([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1))
        lasts = np.append(firsts[1:], len(ids)) - 1
        before = np.empty_like(numbers)
        before[1:] = numbers[:-1]
        before[firsts] = self._numbers[ids[firsts]]
        # The last row of each series whose value is another than the one before; -1 for none.
        changes = np.where(numbers != before, np.arange(len(ids)), -1)
        rows = np.maximum.reduceat(changes, firsts)
        self._note_changes(block, rows[rows >= 0], before)
        self._times_us[ids[lasts]] = times[lasts]
        self._numbers[ids[lasts]] = numbers[lasts]
        self._seqs[ids[lasts]] = seq
        self._store_contexts(block, lasts)

    def _note_changes(
        self, block: Block, rows: npt.NDArray[np.intp], before: npt.NDArray[np.float64]
    ) -> None:
        """Take the last change of each series, and what its value was before."""
        ids, times = block.series_ids[rows], block.times_us[rows]
        # A correction of the point that began the run keeps what was before it.
        keeps = (self._times_us[ids] == times) & (self._changed_us[ids] == times)
        is_moved = ~keeps & ~np.isnan(before[rows])
        moved = ids[is_moved]
        self._previous_numbers[moved] = before[rows[is_moved]]
        if self._previous:
            for series_id in moved.tolist():
                self._previous.pop(series_id, None)
        self._changed_us[ids] = times

    def _store_contexts(self, block: Block, last: npt.NDArray[np.intp]) -> None:
        ids = block.series_ids[last].tolist()
        if block.context_of is None:
            if self._contexts:
                for series_id in ids:
                    self._contexts.pop(series_id, None)
            return
        for series_id, index in zip(ids, block.context_of[last].tolist(), strict=True):
            if index < 0:
                self._contexts.pop(series_id, None)
            else:
                self._contexts[series_id] = block.contexts[index]
