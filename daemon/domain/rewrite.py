"""What new points make of history: chunks in place of others, and the rollups of their hours.

Points that are late need what history has around them; parts bound how much of it is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from daemon.domain.block import Block
from daemon.domain.chunk import Chunk, Int32s, Int64s
from daemon.domain.encoding import encode
from daemon.domain.merge import merge
from daemon.domain.placement import Bools, Placement, Rows, SeriesDays, Spans, place
from daemon.domain.rollup import Rollups, concat, roll_up

# Old points that are read at a time, unless a single series-day has more in an hour's chunks.
READ_POINTS_MAX = 300_000


@dataclass(frozen=True, slots=True)
class Part:
    """New points of some series-days, and the chunks history has of these.

    `first_span` is the place of the first of these chunks among those of all parts.
    """

    block: Block
    days: SeriesDays
    spans: Spans
    placement: Placement
    first_span: int

    def keys(self, mask: Bools) -> tuple[Int32s, Int64s]:
        """Series ids and first times of these chunks."""
        return self.days.series_ids[self.spans.runs[mask]], self.spans.starts_us[mask]


def parts_of(block: Block, days: SeriesDays, spans: Spans) -> list[Part]:
    """The points, sorted by series and time, in parts that read a bounded number of old ones."""
    placement = place(block, days, spans)
    is_read = placement.is_read
    old = np.bincount(spans.runs[is_read], spans.points[is_read], minlength=len(days))
    if old.sum() <= READ_POINTS_MAX:
        return [Part(block, days, spans, placement, 0)]
    group = np.cumsum(old) // READ_POINTS_MAX
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(days)]
    return list(_split(block, days, spans, cuts))


def _split(block: Block, days: SeriesDays, spans: Spans, cuts: list[int]) -> Iterator[Part]:
    firsts = np.append(days.firsts, len(block))
    for a, b in pairwise(cuts):
        rows = np.arange(firsts[a], firsts[b])
        own = block.take(rows)
        own_days = SeriesDays.of(own)
        low, high = (int(at) for at in np.searchsorted(spans.runs, [a, b]))
        own_spans = Spans(
            spans.runs[low:high] - a,
            spans.starts_us[low:high],
            spans.ends_us[low:high],
            spans.points[low:high],
        )
        yield Part(own, own_days, own_spans, place(own, own_days, own_spans), low)


@dataclass(slots=True)
class Outcome:
    """Gathers what the parts come to; `gone` are places of replaced chunks among those of all."""

    chunks: list[Chunk] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    _fresh: list[Rollups] = field(default_factory=list)
    _dirty: list[Rollups] = field(default_factory=list)
    _removed: list[tuple[Int32s, Int64s]] = field(default_factory=list)

    def add(self, part: Part, old: Block) -> None:
        """Take a part and the points of the chunks it reads."""
        block, placement = part.block, part.placement
        merged = merge([old, block]) if len(old) else block
        rows, breaks = placement.rows_to_write(merged)
        self.chunks.extend(encode(_take(merged, rows), breaks=breaks))
        self._removed.append(part.keys(placement.is_rewritten))
        rewritten = np.flatnonzero(placement.is_rewritten)
        self.gone.extend((rewritten + part.first_span).tolist())
        if not len(placement.dirty_hours):
            self._fresh.append(roll_up(block))
            return
        # Hours with only newer points are added to; the others are rolled up anew.
        self._fresh.append(roll_up(block.take(np.flatnonzero(~placement.is_dirty(block)))))
        self._dirty.append(roll_up(merged.take(np.flatnonzero(placement.is_dirty(merged)))))

    def rollups(self) -> tuple[Rollups, Rollups]:
        """Those to add to what is known of their hours, and those that are complete."""
        return concat(self._fresh), concat(self._dirty)

    def removed(self) -> tuple[Int32s, Int64s]:
        """Series ids and first times of the chunks that are replaced."""
        ids = np.concatenate([ids for ids, _ in self._removed])
        return ids, np.concatenate([starts for _, starts in self._removed])


def _take(block: Block, rows: Rows) -> Block:
    return block if len(rows) == len(block) else block.take(rows)
