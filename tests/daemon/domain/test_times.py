"""Time stamps of clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.times import INVALID_US, parse_epochs, parse_time, parse_times

NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)
NOON_US = 1_766_059_200_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamps(zone: timezone) -> st.SearchStrategy[datetime]:
    return st.datetimes(
        min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(zone)
    )


@pytest.mark.parametrize(
    "value",
    [
        "2025-12-18T12:00:00Z",
        "2025-12-18T12:00:00.000000Z",
        "2025-12-18T06:00:00-06:00",
        "2025-12-18 12:00:00+00:00",
        1766059200,
        1766059200.0,
        1766059200000,
        1766059200000000,
    ],
)
def test_every_accepted_form_of_one_instant(value: object) -> None:
    assert parse_time(value) == NOON_US
    assert parse_times([value, value]).tolist() == [NOON_US, NOON_US]


@pytest.mark.parametrize(
    "value",
    [
        "2025-12-18T12:00:00",
        "2025-12-18",
        "",
        "now",
        "2025-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2025-12-18T24:00:01Z",
        "2025-12-18T12:60:00Z",
        "2025-12-18T12:00:60Z",
        "٢٠٢٥-12-18T12:00:00Z",
        "0000-01-01T00:00:00Z",
        True,
        None,
        [],
        {},
        float("nan"),
        float("inf"),
        1e30,
        2**70,
    ],
)
def test_what_is_no_stamp_is_marked_and_spoils_no_neighbour(value: object) -> None:
    assert parse_time(value) == INVALID_US
    assert parse_times([value]).tolist() == [INVALID_US]
    assert parse_times(["2025-12-18T12:00:00Z", value]).tolist() == [NOON_US, INVALID_US]


@given(
    st.sampled_from([0, 3, 6]),
    st.integers(-23 * 60, 23 * 60).flatmap(
        lambda minutes: st.lists(stamps(timezone(timedelta(minutes=minutes))), min_size=1)
    ),
)
def test_a_column_reads_as_its_stamps_one_by_one(digits: int, times: list[datetime]) -> None:
    timespec = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    texts = [t.isoformat(timespec=timespec) for t in times]
    expected = [(datetime.fromisoformat(t) - EPOCH) // timedelta(microseconds=1) for t in texts]

    assert parse_times(texts).tolist() == expected


def test_stamps_that_only_line_up_when_joined_are_refused() -> None:
    joined = ["2025-12-18T12:00:00Z2", "025-12-18T12:00:00Z"]

    assert parse_times(joined).tolist() == [INVALID_US, INVALID_US]


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000])
def test_an_epoch_column_has_one_unit_which_its_largest_value_tells(factor: int) -> None:
    columns = [1766059200 * factor, 1766059201 * factor, 0, 1.5, 1e300]

    assert parse_epochs(columns[:3], [2, 1]).tolist() == [NOON_US, NOON_US + 1_000_000, 0]
    assert parse_epochs(columns, [2, 2, 1]).tolist() == [
        NOON_US,
        NOON_US + 1_000_000,
        0,
        1_500_000,
        INVALID_US,
    ]
