"""Buckets begin at multiples of the interval, or at local times that survive the change of
clocks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.buckets import HOUR_US, SECOND_US, Grid, epoch_grid, local_grid, whole
from daemon.domain.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")
KATHMANDU = ZoneInfo("Asia/Kathmandu")
DAY_S = 86_400


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND_US


def shown(grid: Grid, zone: ZoneInfo) -> list[str]:
    starts = [datetime.fromtimestamp(s / 1e6, UTC).astimezone(zone) for s in grid.starts_us]
    return [start.isoformat(timespec="minutes") for start in starts]


def test_buckets_begin_at_multiples_of_the_interval() -> None:
    grid = epoch_grid(us("2026-01-01T00:07:00Z"), us("2026-01-01T00:20:00Z"), interval_s=300)

    assert grid.starts_us.tolist() == [
        us("2026-01-01T00:05:00Z"),
        us("2026-01-01T00:10:00Z"),
        us("2026-01-01T00:15:00Z"),
    ]


def test_days_follow_the_clock_when_it_goes_forward() -> None:
    grid = local_grid(
        us("2026-03-28T12:00:00+01:00"),
        us("2026-03-30T12:00:00+02:00"),
        interval_s=DAY_S,
        zone=BERLIN,
    )

    assert shown(grid, BERLIN) == [
        "2026-03-28T00:00+01:00",
        "2026-03-29T00:00+01:00",
        "2026-03-30T00:00+02:00",
    ]


def test_an_hour_that_comes_twice_is_two_buckets() -> None:
    grid = local_grid(
        us("2026-10-25T01:00:00+02:00"),
        us("2026-10-25T04:00:00+01:00"),
        interval_s=3600,
        zone=BERLIN,
    )

    assert shown(grid, BERLIN) == [
        "2026-10-25T01:00+02:00",
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_an_hour_that_is_skipped_is_no_bucket() -> None:
    grid = local_grid(
        us("2026-03-29T01:00:00+01:00"),
        us("2026-03-29T04:00:00+02:00"),
        interval_s=3600,
        zone=BERLIN,
    )

    assert shown(grid, BERLIN) == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]


def test_quarters_of_a_day_keep_their_local_times_when_the_clock_goes_back() -> None:
    grid = local_grid(
        us("2026-10-25T00:00:00+02:00"),
        us("2026-10-26T00:00:00+01:00"),
        interval_s=6 * 3600,
        zone=BERLIN,
    )

    assert [text[11:16] for text in shown(grid, BERLIN)] == ["00:00", "06:00", "12:00", "18:00"]


def test_hours_of_a_zone_off_by_45_minutes_are_not_hours_of_utc() -> None:
    start, end = us("2026-05-01T00:00:00Z"), us("2026-05-02T00:00:00Z")

    assert not local_grid(start, end, interval_s=3600, zone=KATHMANDU).is_hourly
    assert local_grid(start, end, interval_s=3600, zone=BERLIN).is_hourly
    assert epoch_grid(start, end, interval_s=7200).is_hourly
    assert not epoch_grid(start, end, interval_s=5400).is_hourly
    assert whole(start + 1).is_hourly


def test_weeks_follow_local_midnights() -> None:
    grid = local_grid(
        us("2026-03-20T00:00:00Z"), us("2026-04-10T00:00:00Z"), interval_s=7 * DAY_S, zone=BERLIN
    )

    assert [text[11:16] for text in shown(grid, BERLIN)] == ["00:00"] * 4


@given(
    st.integers(1_500_000_000, 1_900_000_000),
    st.integers(1, 10 * DAY_S),
    st.sampled_from([60, 300, 3600, 7200, 5 * 3600, 6 * 3600, DAY_S, 7 * DAY_S]),
    st.sampled_from([BERLIN, KATHMANDU, ZoneInfo("Australia/Lord_Howe"), None]),
)
def test_every_time_lies_in_the_bucket_that_began_last(
    start_s: int, length_s: int, interval_s: int, zone: ZoneInfo | None
) -> None:
    start, end = start_s * SECOND_US, (start_s + length_s) * SECOND_US
    grid = (
        epoch_grid(start, end, interval_s=interval_s)
        if zone is None
        else local_grid(start, end, interval_s=interval_s, zone=zone)
    )

    times = np.linspace(start, end - 1, 50).astype(np.int64)
    buckets = grid.bucket_of(times)

    assert grid.starts_us[0] <= start < end
    assert bool((np.diff(grid.starts_us) > 0).all())
    assert bool((grid.starts_us[buckets] <= times).all())
    nexts = np.append(grid.starts_us, 2**62)[buckets + 1]
    assert bool((times < nexts).all())


@pytest.mark.parametrize("zone", [None, BERLIN])
def test_too_many_buckets_are_refused(zone: ZoneInfo | None) -> None:
    make = epoch_grid if zone is None else partial(local_grid, zone=zone)

    with pytest.raises(Invalid) as refused:
        make(0, 400 * 24 * HOUR_US, interval_s=1)

    assert refused.value.error_code == "too_many_buckets"
