"""Where new points go among the chunks that history has already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.chunk import CHUNK_POINTS_MAX, DAY_US, Int64s
from daemon.domain.rollup import HOUR_US

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
# Chunks of fewer points are worth merging with their neighbours.
SMALL_POINTS = CHUNK_POINTS_MAX // 2


@dataclass(frozen=True, slots=True)
class SeriesDays:
    """The runs of one series and one UTC day in sorted points; `firsts` are their first rows."""

    series_ids: npt.NDArray[np.int32]
    midnights_us: Int64s
    firsts: Rows
    lengths: Int64s

    @classmethod
    def of(cls, block: Block) -> SeriesDays:
        """Of points that are sorted by series, then time."""
        days = block.times_us // DAY_US
        is_first = np.ones(len(block), np.bool_)
        ids = block.series_ids
        is_first[1:] = (ids[1:] != ids[:-1]) | (days[1:] != days[:-1])
        firsts = np.flatnonzero(is_first)
        return cls(ids[firsts], days[firsts] * DAY_US, firsts, np.diff(firsts, append=len(block)))

    @classmethod
    def single(cls, series_ids: npt.NDArray[np.int32], midnights_us: Int64s) -> SeriesDays:
        """These series-days, ascending, without points."""
        n = len(series_ids)
        return cls(series_ids, midnights_us, np.arange(n), np.ones(n, np.int64))

    def __len__(self) -> int:
        return len(self.firsts)

    def places(self, block: Block) -> Int64s:
        """One ascending number per point: the run it is in, and its time of the day."""
        runs = np.arange(len(self), dtype=np.int64) * DAY_US - self.midnights_us
        return block.times_us + np.repeat(runs, self.lengths)


@dataclass(frozen=True, slots=True)
class Spans:
    """The chunks that history has of some series-days, ascending; none overlap.

    runs  intp    (n,)  index of the series-day
    starts_us, ends_us  int64  (n,)  first and last time
    points  int32  (n,)
    """

    runs: Rows
    starts_us: Int64s
    ends_us: Int64s
    points: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class Placement:
    """What happens to history when new points come.

    is_rewritten  (chunks,)  a new point lies in the span of the chunk
    is_read       (chunks,)  rewritten, or holds points of an hour that is rolled up anew
    dirty_hours   ascending: 24 × series-day + hour, of each hour with a point that is not newer
                  than all that history has of its series-day
    """

    days: SeriesDays
    start_places: Int64s
    end_places: Int64s
    is_rewritten: Bools
    is_read: Bools
    dirty_hours: Int64s

    def is_dirty(self, block: Block) -> Bools:
        """Which of these points lie in an hour that is rolled up anew."""
        days = SeriesDays.of(block)
        return np.isin(days.places(block) // HOUR_US, self.dirty_hours)

    def rows_to_write(self, merged: Block) -> tuple[Rows, Rows]:
        """Rows of the merged points that must be written, and where among them chunks begin.

        `merged` is the new points and those of all chunks that are read.
        """
        if not len(self.start_places):
            return np.arange(len(merged)), np.empty(0, np.intp)
        places = SeriesDays.of(merged).places(merged)
        chunk, is_inside = _locate(places, self.start_places, self.end_places)
        rows = np.flatnonzero(~is_inside | self.is_rewritten[chunk])
        # Points between two chunks may not join one of them: the next rewrite would be larger.
        group = 2 * chunk[rows] + is_inside[rows]
        return rows, np.flatnonzero(np.diff(group)) + 1


def place(block: Block, days: SeriesDays, spans: Spans) -> Placement:
    """Compare new points, sorted by series and time, with the chunks of their series-days."""
    places = days.places(block)
    shift = spans.runs * DAY_US - days.midnights_us[spans.runs]
    starts, ends = spans.starts_us + shift, spans.ends_us + shift
    newest = np.full(len(days), -1, np.int64)
    newest[spans.runs] = ends
    is_late = places <= np.repeat(newest, days.lengths)
    dirty = np.unique(places[is_late] // HOUR_US)
    is_rewritten = np.zeros(len(spans), np.bool_)
    if len(dirty):
        chunk, is_inside = _locate(places, starts, ends)
        is_rewritten[chunk[is_inside]] = True
    overlaps = np.searchsorted(dirty, ends // HOUR_US, "right") > np.searchsorted(
        dirty, starts // HOUR_US, "left"
    )
    return Placement(days, starts, ends, is_rewritten, is_rewritten | overlaps, dirty)


def _locate(places: Int64s, starts: Int64s, ends: Int64s) -> tuple[Rows, Bools]:
    """Per point the last chunk that begins at or before it, and whether the point is inside."""
    if not len(starts):
        return np.zeros(len(places), np.intp), np.zeros(len(places), np.bool_)
    chunk = np.searchsorted(starts, places, "right") - 1
    is_inside = (chunk >= 0) & (places <= ends[chunk])
    return chunk, is_inside


def small_runs(spans: Spans) -> tuple[Rows, Rows]:
    """Rows of the small chunks that lie side by side in a series-day, and their breaks.

    A break is the number of points before a run, except the first; no larger chunk lies inside one.
    """
    is_small = spans.points < SMALL_POINTS
    begins = np.ones(len(spans), np.bool_)
    begins[1:] = (spans.runs[1:] != spans.runs[:-1]) | ~is_small[1:] | ~is_small[:-1]
    run = np.cumsum(begins) - 1
    length = np.bincount(run)
    rows = np.flatnonzero(length[run] > 1)
    before = np.concatenate(([0], np.cumsum(spans.points[rows])))
    return rows, before[np.flatnonzero(np.diff(run[rows])) + 1]
