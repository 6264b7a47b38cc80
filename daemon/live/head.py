"""The head: points of the journal that are not in chunks yet, in memory, readable by series and
time."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block, concat
from daemon.domain.merge import EMPTY

SEGMENT_POINTS = 65_536


class Segment:
    """Up to SEGMENT_POINTS rows in arrival order; contexts are kept once per segment, so they go
    with it."""

    __slots__ = (
        "_context_index",
        "context_of",
        "contexts",
        "numbers",
        "objects",
        "seq_max",
        "seq_starts",
        "seqs",
        "series_ids",
        "size",
        "times_us",
    )

    def __init__(self, capacity: int) -> None:
        self.series_ids: npt.NDArray[np.int32] = np.empty(capacity, np.int32)
        self.times_us: npt.NDArray[np.int64] = np.empty(capacity, np.int64)
        self.numbers: npt.NDArray[np.float64] = np.empty(capacity, np.float64)
        self.context_of: npt.NDArray[np.int32] | None = None
        self.contexts: list[bytes] = []
        self._context_index: dict[bytes, int] = {}
        self.objects: dict[int, Any] = {}
        self.size = 0
        self.seqs: list[int] = []
        self.seq_starts: list[int] = []
        self.seq_max = -1

    @property
    def room(self) -> int:
        return len(self.series_ids) - self.size

    def append(self, seq: int, block: Block, start: int, end: int) -> None:
        """Take rows start..end of the block."""
        at, n = self.size, end - start
        self.series_ids[at : at + n] = block.series_ids[start:end]
        self.times_us[at : at + n] = block.times_us[start:end]
        self.numbers[at : at + n] = block.numbers[start:end]
        if block.context_of is not None:
            self._append_contexts(block, start, end)
        elif self.context_of is not None:
            self.context_of[at : at + n] = -1
        if block.objects:
            self.objects.update(
                (at + index - start, value)
                for index, value in block.objects.items()
                if start <= index < end
            )
        self.seqs.append(seq)
        self.seq_starts.append(at)
        self.seq_max = max(self.seq_max, seq)
        self.size = at + n

    def _append_contexts(self, block: Block, start: int, end: int) -> None:
        assert block.context_of is not None
        if self.context_of is None:
            self.context_of = np.full(len(self.series_ids), -1, np.int32)
        mapping = []
        for context in block.contexts:
            index = self._context_index.setdefault(context, len(self.contexts))
            if index == len(self.contexts):
                self.contexts.append(context)
            mapping.append(index)
        mapping.append(-1)
        at = self.size
        self.context_of[at : at + end - start] = np.array(mapping, np.int32)[
            block.context_of[start:end]
        ]

    def block_of(self, rows: npt.NDArray[np.intp]) -> Block:
        """A copy of these rows, in arrival order."""
        whole = Block(
            self.series_ids,
            self.times_us,
            self.numbers,
            self.context_of,
            list(self.contexts),
            self.objects,
        )
        return whole.take(rows)

    def seqs_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        at = np.searchsorted(np.array(self.seq_starts), rows, side="right") - 1
        return np.array(self.seqs, np.int64)[at]


class Head:
    """Segments of recent points. Own blocks may arrive before smaller seqs of other daemons; reads
    sort that out."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self._seq_max = -1
        self._is_in_order = True
        self.points = 0
        self.trimmed_to = -1

    def append(self, seq: int, block: Block) -> None:
        """Make a committed block readable."""
        if seq < self._seq_max:
            self._is_in_order = False
        self._seq_max = max(self._seq_max, seq)
        start, n = 0, len(block)
        while start < n:
            if not self._segments or not self._segments[-1].room:
                self._segments.append(Segment(SEGMENT_POINTS))
            segment = self._segments[-1]
            end = min(n, start + segment.room)
            segment.append(seq, block, start, end)
            start = end
        self.points += n

    def read(self, series_ids: npt.NDArray[np.int32], *, start_us: int, end_us: int) -> Block:
        """Rows of these series in [start_us, end_us), in seq order (not sorted by time, keys may
        repeat)."""
        if not self._segments or not len(series_ids):
            return EMPTY
        is_wanted = self._wanted(series_ids)
        blocks: list[Block] = []
        seqs: list[npt.NDArray[np.int64]] = []
        for segment in self._segments:
            rows = _matching(segment, series_ids, is_wanted, start_us, end_us)
            if len(rows):
                blocks.append(segment.block_of(rows))
                if not self._is_in_order:
                    seqs.append(segment.seqs_of(rows))
        if not blocks:
            return EMPTY
        whole = concat(blocks)
        return (
            whole
            if self._is_in_order
            else whole.take(np.argsort(np.concatenate(seqs), kind="stable"))
        )

    def _wanted(self, series_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_] | None:
        """A table by series id, for reads of several series; None for one."""
        if len(series_ids) == 1:
            return None
        id_max = max(int(s.series_ids[: s.size].max()) for s in self._segments)
        is_wanted = np.zeros(max(id_max, int(series_ids.max())) + 1, np.bool_)
        is_wanted[series_ids] = True
        return is_wanted

    def keys(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(seq, series id, time) of every row, for counting; keys may repeat, and chunks may hold
        some already."""
        if not self._segments:
            return np.empty(0, np.int64), EMPTY.series_ids, EMPTY.times_us
        return (
            np.concatenate([s.seqs_of(np.arange(s.size)) for s in self._segments]),
            np.concatenate([s.series_ids[: s.size] for s in self._segments]),
            np.concatenate([s.times_us[: s.size] for s in self._segments]),
        )

    def trim(self, position: int) -> None:
        """Drop segments whose every block is at or before `position`, which is in chunks now."""
        self.trimmed_to = max(self.trimmed_to, position)
        while self._segments and self._segments[0].seq_max <= position:
            self.points -= self._segments.popleft().size
        if not self._segments:
            self._is_in_order = True

    def clear(self) -> None:
        self._segments.clear()
        self._seq_max = -1
        self._is_in_order = True
        self.points = 0


def _matching(
    segment: Segment,
    series_ids: npt.NDArray[np.int32],
    is_wanted: npt.NDArray[np.bool_] | None,
    start_us: int,
    end_us: int,
) -> npt.NDArray[np.intp]:
    n = segment.size
    own = segment.series_ids[:n]
    rows = np.flatnonzero(own == series_ids[0] if is_wanted is None else is_wanted[own])
    times = segment.times_us[rows]
    return rows[(times >= start_us) & (times < end_us)]
