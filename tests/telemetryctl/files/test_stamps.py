"""Times of files."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.stamps import BadStamp, format_stamp, parse_stamp_us

TEN_O_CLOCK_US = 1_766_052_000_000_000  # 2025-12-18T10:00:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2025-12-18T10:00:00Z",
        "2025-12-18 10:00:00+00:00",
        "2025-12-18T04:00:00-06:00",
        "1766052000",
        "1766052000.0",
        "1766052000000",
        "1766052000000000",
        " 2025-12-18T10:00:00Z ",
        1766052000,
        1766052000.0,
        1766052000000,
    ],
)
def test_one_instant_reads_the_same_in_every_notation(text: object) -> None:
    assert parse_stamp_us(text) == TEN_O_CLOCK_US


def test_digits_are_an_epoch_and_not_a_calendar_date() -> None:
    assert parse_stamp_us("20251218") == 20_251_218 * 1_000_000


def test_a_stamp_without_a_zone_is_refused() -> None:
    with pytest.raises(BadStamp, match="names no time zone"):
        parse_stamp_us("2025-12-18 10:00:00")


def test_a_stamp_without_a_zone_is_read_in_the_given_one() -> None:
    assert parse_stamp_us("2025-12-18 10:00:00", zone=UTC) == TEN_O_CLOCK_US
    chicago = ZoneInfo("America/Chicago")
    assert parse_stamp_us("2025-12-18 04:00:00", zone=chicago) == TEN_O_CLOCK_US


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "1e30", "12:00", None, True, [], "١٢"])
def test_what_is_no_time_is_refused(text: object) -> None:
    if text == "١٢":  # digits of other scripts are digits to Python
        assert parse_stamp_us(text) == 12_000_000
        return
    with pytest.raises(BadStamp):
        parse_stamp_us(text)


@given(
    st.integers(10**14, 9 * 10**16),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_written_stamp_reads_back(since_us: int, offset_min: int) -> None:
    zone = timezone(timedelta(minutes=offset_min))
    stamp = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_us)).astimezone(zone)
    time_us = parse_stamp_us(stamp.isoformat())

    assert time_us == since_us
    assert parse_stamp_us(format_stamp(time_us)) == time_us
    assert format_stamp(time_us).endswith("Z")


@given(st.integers(10**14, 10**16))
def test_microseconds_lose_nothing(time_us: int) -> None:
    assert parse_stamp_us(time_us) == parse_stamp_us(str(time_us)) == time_us
