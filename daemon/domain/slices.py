"""Cuts a long range into slices of a bounded number of points.

How many lie where is known to store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.domain.block import Int64s
from daemon.domain.buckets import DAY_US, Grid
from daemon.domain.errors import Invalid

SLICE_POINTS = 1_000_000
"""A slice is closed at the first place after this many points."""
SLICE_POINTS_MAX = 10_000_000
"""A slice that can't be closed below this is refused: it would not fit into memory."""


@dataclass(frozen=True, slots=True)
class Slice:
    """[start_us, end_us), and about how many points lie in it."""

    start_us: int
    end_us: int
    points: int


def by_day(volumes: Sequence[tuple[Int64s, Int64s]]) -> tuple[Int64s, Int64s]:
    """(days, points) of several such pairs, added up and in order."""
    days = np.concatenate([v[0] for v in volumes])
    distinct, index = np.unique(days, return_inverse=True)
    totals = np.bincount(index, np.concatenate([v[1] for v in volumes]), len(distinct))
    return distinct, totals.astype(np.int64)


def slices(
    volumes: tuple[Int64s, Int64s],
    *,
    start_us: int,
    end_us: int,
    points: int = SLICE_POINTS,
    grid: Grid | None = None,
) -> Iterator[Slice]:
    """Slices in time order that cover every day of `volumes` within the range.

    With a grid they end where buckets begin, so that no bucket is cut; without one a full day is
    cut into even parts. Raises Invalid when one slice holds more than SLICE_POINTS_MAX.
    """
    at_us, held = start_us, 0
    for day, count in zip(volumes[0].tolist(), volumes[1].tolist(), strict=True):
        day_end_us = min((day + 1) * DAY_US, end_us)
        if grid is None and count > points:
            if held:
                yield Slice(at_us, max(at_us, day * DAY_US), held)
            at_us = max(start_us, day * DAY_US)
            yield from _parts(at_us, day_end_us, count, points)
            at_us, held = day_end_us, 0
            continue
        held += count
        if held > SLICE_POINTS_MAX:
            raise _too_many(held)
        border_us = day_end_us if grid is None else _bucket_border(grid, day_end_us)
        if held >= points and at_us < border_us < end_us:
            yield Slice(at_us, border_us, held)
            # What the border left behind is counted again, with the next slice.
            at_us, held = border_us, count if border_us < day_end_us else 0
    if held:
        yield Slice(at_us, end_us, held)


def _parts(start_us: int, end_us: int, count: int, points: int) -> Iterator[Slice]:
    if count > SLICE_POINTS_MAX:
        raise _too_many(count)
    n = -(-count // points)
    width_us = -(-(end_us - start_us) // n)
    for part_us in range(start_us, end_us, width_us):
        yield Slice(part_us, min(part_us + width_us, end_us), count // n)


def _bucket_border(grid: Grid, time_us: int) -> int:
    """The last start of a bucket at or before this time."""
    at = int(np.searchsorted(grid.starts_us, time_us, side="right")) - 1
    return int(grid.starts_us[max(at, 0)])


def _too_many(points: int) -> Invalid:
    return Invalid(
        f"about {points} points have to be looked at together, which is more than "
        f"{SLICE_POINTS_MAX}; name fewer series, or a shorter range or interval",
        code="too_many_points",
    )
