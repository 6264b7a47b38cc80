"""Counting points by series and second."""

from __future__ import annotations

import numpy as np

from daemon.clock import ManualClock
from daemon.live.rates import SECONDS, SeriesRates

SECOND_US = 1_000_000


def rates_at(clock: ManualClock) -> SeriesRates:
    return SeriesRates(clock)


def sums(rates: SeriesRates, seconds: int) -> dict[int, int]:
    ids, counts = rates.sums(seconds)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def blocks(*ids: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(ids, np.int32)


def test_a_second_counts_once_it_is_over() -> None:
    clock = ManualClock(0)
    rates = SeriesRates(clock)
    rates.count(blocks(3, 3, 7))
    rates.count(blocks(7))

    assert sums(rates, 10) == {}

    clock.advance_s(1)

    assert sums(rates, 10) == {3: 2, 7: 2}


def test_only_the_seconds_of_the_window_count() -> None:
    clock = ManualClock(0)
    rates = SeriesRates(clock)
    for series_id in range(5):
        rates.count(blocks(series_id))
        clock.advance_s(1)

    assert sums(rates, 2) == {3: 1, 4: 1}
    assert sums(rates, 5) == {n: 1 for n in range(5)}


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    clock = ManualClock(0)
    rates = SeriesRates(clock)
    rates.count(blocks(1))
    clock.advance_s(SECONDS + 5)
    rates.count(blocks(2))
    clock.advance_s(1)

    assert sums(rates, SECONDS - 1) == {2: 1}


def test_few_points_of_late_series_are_counted_like_many_of_early_ones() -> None:
    clock = ManualClock(0)
    rates = SeriesRates(clock)
    rates.count(blocks(900_000, 5, 900_000))
    clock.advance_s(1)

    assert sums(rates, 1) == {5: 1, 900_000: 2}


def test_a_young_process_divides_by_its_age() -> None:
    clock = ManualClock(0)
    rates = SeriesRates(clock)
    clock.advance_s(3)

    assert rates.covered_s(10) == 3
    assert rates.covered_s(2) == 2
