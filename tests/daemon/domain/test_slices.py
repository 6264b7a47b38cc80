"""Slices cover what there is, in order, and cut no bucket."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.buckets import DAY_US, HOUR_US, epoch_grid, whole
from daemon.domain.errors import Invalid
from daemon.domain.slices import by_day, groups, slices

days_of = st.dictionaries(st.integers(0, 30), st.integers(1, 5_000), max_size=20)
INTERVALS = [None, 3600, 5 * 3600, 86_400, 3 * 86_400, 7 * 86_400]


@given(
    days_of,
    st.integers(0, 35 * 24),
    st.integers(1, 35 * 24),
    st.integers(1, 8_000),
    st.sampled_from(INTERVALS),
)
def test_every_point_lies_in_one_slice(
    counts: dict[int, int], first_h: int, length_h: int, points: int, interval_s: int | None
) -> None:
    start_us, end_us = first_h * HOUR_US, (first_h + length_h) * HOUR_US
    inside = {d: n for d, n in counts.items() if start_us // DAY_US <= d <= (end_us - 1) // DAY_US}
    days = np.array(sorted(inside), np.int64)
    volumes = (days, np.array([inside[d] for d in days.tolist()], np.int64))
    grid = None if interval_s is None else epoch_grid(start_us, end_us, interval_s=interval_s)

    found = list(slices(volumes, start_us=start_us, end_us=end_us, points=points, grid=grid))

    assert all(part.start_us < part.end_us for part in found)
    assert all(a.end_us <= b.start_us for a, b in pairwise(found))
    assert all(start_us <= part.start_us and part.end_us <= end_us for part in found)
    for day in days.tolist():
        for at in range(max(day * DAY_US, start_us), min((day + 1) * DAY_US, end_us), HOUR_US):
            assert sum(part.start_us <= at < part.end_us for part in found) == 1
    if grid is not None:
        borders = set(grid.starts_us.tolist()) | {start_us, end_us}
        assert {p.start_us for p in found} | {p.end_us for p in found} <= borders


def test_what_does_not_fit_into_memory_is_refused() -> None:
    volumes = (np.array([0, 1]), np.array([6_000_000, 6_000_000]))

    with pytest.raises(Invalid) as refused:
        list(slices(volumes, start_us=0, end_us=2 * DAY_US, grid=whole(0)))

    assert refused.value.error_code == "too_many_points"


def test_days_of_several_sources_are_added_up() -> None:
    stored = (np.array([3, 5]), np.array([10, 20]))
    fresh = (np.array([5, 6]), np.array([1, 2]))

    days, points = by_day([stored, fresh])

    assert (days.tolist(), points.tolist()) == ([3, 5, 6], [10, 21, 2])


def test_series_are_read_together_until_they_are_many_points() -> None:
    volumes = {7: 600_000, 3: 300_000, 5: 200_000, 9: 3_000_000, 1: 10}

    assert [group.tolist() for group in groups(volumes)] == [[7, 3], [5], [9], [1]]


def test_a_series_that_does_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(Invalid):
        list(groups({1: 5_000_000}))
