"""Cuts a long range into slices of a bounded number of points.

How many lie where is known to store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.domain.block import Int32s, Int64s
from daemon.domain.buckets import DAY_US, Grid
from daemon.domain.errors import Invalid

SLICE_POINTS = 1_000_000
"""A slice is closed at the first place after this many points."""
SLICE_POINTS_MAX = 4_000_000
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

    With a grid they end where buckets begin, so that no bucket is cut. Raises Invalid when a slice
    holds more than SLICE_POINTS_MAX, which only a bucket can do.
    """
    at_us, held = start_us, 0
    for part in _even_parts(volumes, start_us, end_us, points):
        held += part.points
        border_us = part.end_us if grid is None else _bucket_border(grid, part.end_us)
        if held >= points and at_us < border_us < end_us:
            yield _checked(Slice(at_us, border_us, held))
            # What the border left behind is counted again, with the next slice.
            at_us, held = border_us, part.points if border_us < part.end_us else 0
    if held:
        yield _checked(Slice(at_us, end_us, held))


def groups(volumes: Mapping[int, int]) -> Iterator[Int32s]:
    """Series ids in the order given, together until they hold SLICE_POINTS.

    Raises Invalid when one series holds more than SLICE_POINTS_MAX.
    """
    group: list[int] = []
    held = 0
    for series_id, points in volumes.items():
        if points > SLICE_POINTS_MAX:
            raise _too_many(points)
        if group and held + points > SLICE_POINTS:
            yield np.array(group, np.int32)
            group, held = [], 0
        group.append(series_id)
        held += points
    if group:
        yield np.array(group, np.int32)


def _even_parts(
    volumes: tuple[Int64s, Int64s], start_us: int, end_us: int, points: int
) -> Iterator[Slice]:
    """The days of the range, a full one in even parts: its points are taken to be spread."""
    for day, count in zip(volumes[0].tolist(), volumes[1].tolist(), strict=True):
        begin_us, stop_us = max(day * DAY_US, start_us), min((day + 1) * DAY_US, end_us)
        if begin_us >= stop_us:
            continue
        n = max(1, -(-count // points))
        width_us = -(-(stop_us - begin_us) // n)
        for part_us in range(begin_us, stop_us, width_us):
            yield Slice(part_us, min(part_us + width_us, stop_us), -(-count // n))


def _checked(found: Slice) -> Slice:
    if found.points > SLICE_POINTS_MAX:
        raise _too_many(found.points)
    return found


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
