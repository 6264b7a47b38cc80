"""Rollups of parts add up to the rollups of the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.domain.merge import merge
from daemon.domain.rollup import HOUR_US, add, roll_up

values = st.integers(-1000, 1000).map(float) | st.none()
points = st.lists(
    st.tuples(st.integers(1, 3), st.integers(-5, 5 * 60).map(lambda m: m * 60_000_000), values),
    min_size=1,
    max_size=40,
)


def a_block(rows: list[tuple[int, int, float | None]]) -> Block:
    return merge(
        [
            Block(
                np.array([row[0] for row in rows], np.int32),
                np.array([row[1] for row in rows], np.int64),
                np.array([np.nan if row[2] is None else row[2] for row in rows]),
                objects={at: "text" for at, row in enumerate(rows) if row[2] is None},
            )
        ]
    )


def naive(block: Block) -> list[tuple[float, ...]]:
    hours: dict[tuple[int, int], list[float]] = {}
    for series_id, time_us, number in zip(
        block.series_ids.tolist(), block.times_us.tolist(), block.numbers.tolist(), strict=True
    ):
        hours.setdefault((series_id, time_us // HOUR_US), []).append(number)
    rows: list[tuple[float, ...]] = []
    for (series_id, hour), numbers in sorted(hours.items()):
        real = [number for number in numbers if number == number]
        rest = (sum(real), min(real), max(real), real[0], real[-1]) if real else (np.nan,) * 5
        rows.append((series_id, hour, len(numbers), len(real), *rest))
    return rows


@settings(max_examples=200, deadline=None)
@given(points)
def test_rollups_are_what_a_loop_would_compute(rows: list[tuple[int, int, float | None]]) -> None:
    block = a_block(rows)

    stored = np.array([column.tolist() for column in roll_up(block).columns()]).T

    np.testing.assert_array_equal(stored, np.array(naive(block)))


@settings(max_examples=200, deadline=None)
@given(points, st.integers(0, 5 * 60))
def test_newer_points_add_up_with_older_ones(
    rows: list[tuple[int, int, float | None]], cut_minute: int
) -> None:
    block = a_block(rows)
    is_old = block.times_us < cut_minute * 60_000_000
    old, new = (block.take(np.flatnonzero(mask)) for mask in (is_old, ~is_old))

    total = add(roll_up(old), roll_up(new))

    whole = roll_up(block)
    keys = set(zip(total.series_ids.tolist(), total.hours.tolist(), strict=True))
    pairs = zip(whole.series_ids.tolist(), whole.hours.tolist(), strict=True)
    touched = np.array([pair in keys for pair in pairs], np.bool_)
    for mine, theirs in zip(total.columns(), whole.take(touched).columns(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_sum_that_overflows_is_infinite() -> None:
    block = Block(np.ones(2, np.int32), np.array([0, 1]), np.array([1.7e308, 1.7e308]))

    assert roll_up(block).sums.tolist() == [np.inf]
