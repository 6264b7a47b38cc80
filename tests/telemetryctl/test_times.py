"""Times and durations as people type and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl import times
from telemetryctl.failures import UsageFailure

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BERLIN = times.parse_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("7d", timedelta(days=7)),
        ("4w", timedelta(weeks=4)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert times.parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "15", "m", "1x", "-5m", "1h 5", "9" * 400 + "w"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageFailure):
        times.parse_duration(text)


@pytest.mark.parametrize("text", ["1mo", "2y", "3months", "1year"])
def test_months_and_years_are_refused_as_ambiguous(text: str) -> None:
    with pytest.raises(UsageFailure, match="ambiguous"):
        times.parse_duration(text)
    with pytest.raises(UsageFailure, match="ambiguous"):
        times.parse_time(text, at=NOON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-21T12:00:00Z"),
        ("15m", "2026-11-21T11:45:00Z"),
        ("today", "2026-11-20T23:00:00Z"),
        ("yesterday", "2026-11-19T23:00:00Z"),
        ("2026-11-20", "2026-11-19T23:00:00Z"),
        ("2026-11-20T10:00", "2026-11-20T09:00:00Z"),
        ("2026-11-20T10:00:00.25", "2026-11-20T09:00:00.250000Z"),
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
        ("2026-11-20T10:00:00+05:30", "2026-11-20T04:30:00Z"),
        ("@1763719200", "2025-11-21T10:00:00Z"),
        ("@1763719200000", "2025-11-21T10:00:00Z"),
    ],
)
def test_a_time_is_read_in_the_zone_of_the_user(text: str, expected: str) -> None:
    assert times.format_rfc3339(times.parse_time(text, at=NOON, zone=BERLIN)) == expected


def test_today_begins_at_midnight_also_on_the_day_the_clocks_change() -> None:
    change_day = datetime(2026, 10, 25, 12, 0, tzinfo=UTC)

    begin = times.parse_time("today", at=change_day, zone=BERLIN)

    assert times.format_rfc3339(begin) == "2026-10-24T22:00:00Z"


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "@x", "@nan", "@1e400", "9999999w"])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageFailure):
        times.parse_time(text, at=NOON, zone=BERLIN)


@given(st.text(max_size=20))
def test_no_text_breaks_the_time_parser(text: str) -> None:
    try:
        times.parse_time(text, at=NOON, zone=BERLIN)
    except UsageFailure:
        return


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "\0"])
def test_an_unknown_zone_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageFailure, match="time zone"):
        times.parse_zone(name)


def test_a_window_tells_what_was_understood() -> None:
    window = times.parse_window("10h12m", at=NOON)

    assert window.describe() == "window 2026-11-21T01:48:00Z .. 2026-11-21T12:00:00Z (10h 12m)"


def test_a_window_that_ends_before_it_begins_is_a_usage_error() -> None:
    with pytest.raises(UsageFailure, match="empty"):
        times.parse_window("1h", until="2h", at=NOON)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (3.25, "3.2s"), (42, "42s"), (252, "4m 12s"), (36_720, "10h 12m"), (86_400, "1d")],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, expected: str) -> None:
    assert times.format_duration(timedelta(seconds=seconds)) == expected


def test_a_stamp_for_eyes_is_in_the_zone_of_the_user() -> None:
    assert times.format_for_eyes("2026-11-21T08:00:00Z", zone=BERLIN) == "2026-11-21 09:00:00"
    assert times.format_for_eyes("not a time", zone=BERLIN) == "not a time"
