"""The newest blocks and events in commit order, for readers that resume; who reads them is
live/hub's."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.events import Event
from daemon.domain.json_points import point_texts
from daemon.domain.series_name import SeriesName
from daemon.live.runs import Ids, Runs

Rows = npt.NDArray[np.intp]
RowList = Rows | list[int]
"""Row numbers of a block, ascending."""
Place = tuple[int, int]
"""(seq, offset) of a cursor: all entries up to seq, and of the next block the first `offset`
points."""
EVENT_BYTES = 1_000
OBJECT_BYTES = 200
_FORGET_MIN = 1_024


class Entry:
    """One block or one event at its place in the order.

    While a sweep is under way the texts of the rows that it wants are kept, so that each row is
    written once for all feeds.
    """

    __slots__ = ("_row_at", "_texts", "block", "event", "seq", "wanted")

    def __init__(self, seq: int, block: Block | None = None, event: Event | None = None) -> None:
        self.seq = seq
        self.block = block
        self.event = event
        self.wanted: list[Rows] = []
        self._texts: list[bytes] | None = None
        self._row_at: dict[int, int] | None = None

    @property
    def points(self) -> int:
        return 0 if self.block is None else len(self.block)

    @property
    def series_ids(self) -> Ids | None:
        return None if self.block is None else self.block.series_ids

    @property
    def size_bytes(self) -> int:
        """Roughly what it takes; objects by a flat guess."""
        block = self.block
        if block is None:
            return EVENT_BYTES
        width = 20 if block.context_of is None else 24
        return len(block) * width + len(block.objects) * OBJECT_BYTES + 500

    def texts(self, rows: RowList, names: Mapping[int, SeriesName]) -> list[bytes]:
        """JSON of these rows, which are among `wanted`."""
        if self._texts is None:
            self._write(names)
        texts, row_at = self._texts or [], self._row_at
        if row_at is None and len(rows) == len(texts):
            return texts
        numbers = rows if isinstance(rows, list) else rows.tolist()
        if row_at is None:
            return [texts[row] for row in numbers]
        return [texts[row_at[row]] for row in numbers]

    def _write(self, names: Mapping[int, SeriesName]) -> None:
        assert self.block is not None
        n = len(self.block)
        rows = self.wanted[0] if len(self.wanted) == 1 else np.unique(np.concatenate(self.wanted))
        if len(rows) == n:
            self._texts = point_texts(self.block, names)
            return
        self._texts = point_texts(self.block.take(rows), names)
        self._row_at = {row: at for at, row in enumerate(rows.tolist())}

    def forget_texts(self) -> None:
        """The sweep is over."""
        self.wanted = []
        self._texts = self._row_at = None


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How much is kept; over any of them the oldest go."""

    points: int = 1_000_000
    bytes: int = 128 * 2**20
    entries: int = 50_000


class Ring:
    """Everything with floor < seq <= head is in it, ascending.

    What comes after `pinned` stays, whatever the bounds: it was not passed to readers yet.
    """

    def __init__(self, limits: RingLimits | None = None) -> None:
        self.limits = limits or RingLimits()
        self._entries: list[Entry] = []
        self._seqs: list[int] = []
        self._start = 0
        self.floor = 0
        self.head = 0
        self.pinned = 0
        self.points = 0
        self.bytes = 0
        self._runs = Runs()

    def __len__(self) -> int:
        return len(self._entries) - self._start

    def begin(self, position: int) -> None:
        """Empty; what comes is after this position."""
        self._entries, self._seqs, self._start = [], [], 0
        self.floor = self.head = self.pinned = position
        self.points = self.bytes = 0
        self._runs.begin(position)

    def append(self, entry: Entry) -> None:
        """Take the next entry, and let go of the oldest over a bound."""
        self._entries.append(entry)
        self._seqs.append(entry.seq)
        self.head = entry.seq
        self.points += entry.points
        self.bytes += entry.size_bytes
        limits = self.limits
        while self._entries[self._start].seq <= self.pinned and (
            self.points > limits.points or self.bytes > limits.bytes or len(self) > limits.entries
        ):
            self._forget()

    def _forget(self) -> None:
        start = self._start
        oldest = self._entries[start]
        self._entries[start] = _GONE
        self.floor = oldest.seq
        self.points -= oldest.points
        self.bytes -= oldest.size_bytes
        self._start = start = start + 1
        if start >= _FORGET_MIN and start * 2 > len(self._entries):
            del self._entries[:start], self._seqs[:start]
            self._start = 0

    def after(self, seq: int, *, upto: int | None = None) -> Iterator[Entry]:
        """Entries with seq < theirs <= upto that are still there, in order."""
        at = max(self._start, bisect_right(self._seqs, seq))
        entries, end = self._entries, self.head if upto is None else upto
        while at < len(entries):
            entry = entries[at]
            if entry.seq > end:
                return
            yield entry
            at += 1

    def holding(self, series_ids: Ids, seq: int, *, upto: int) -> Iterator[Entry]:
        """Those entries of `after` that may have points of these series; none of an event."""
        runs = self._runs
        runs.forget(self.floor)
        runs.extend(self.after(runs.covered))
        for found in runs.seqs_of(series_ids, after=max(seq, self.floor), upto=upto):
            yield self._entries[bisect_left(self._seqs, found, lo=self._start)]
        yield from self.after(max(seq, runs.covered), upto=upto)

    def settled(self, place: Place) -> Place:
        """The same place with the seq just before the block that its offset counts in."""
        seq, offset = place
        if not offset:
            return place
        for entry in self.after(seq):
            if entry.block is not None:
                return entry.seq - 1, offset
        return place

    def numbers(self) -> dict[str, int]:
        return {
            "ring_entries": len(self),
            "ring_points": self.points,
            "ring_bytes": self.bytes,
            "ring_floor": self.floor,
            "ring_head": self.head,
        }


_GONE = Entry(0)
