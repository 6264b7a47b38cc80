"""Quiet hours against a naive oracle, each minute of a year in three zones with summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.domain.errors import Invalid
from daemon.domain.quiet_hours import quiet_hours_of

ZONES = ("Europe/Zurich", "America/New_York", "Australia/Lord_Howe")
CASES: tuple[dict[str, Any], ...] = (
    {"start": 22, "end": 7},
    {"start": "01:30", "end": "02:30", "days": ["sun", "mon"]},
    {"start": "23:15", "end": "03:00", "days": ["sat"]},
)


EVE = {
    "mon": "sun",
    "tue": "mon",
    "wed": "tue",
    "thu": "wed",
    "fri": "thu",
    "sat": "fri",
    "sun": "sat",
}


def naively_quiet(said: dict[str, Any], *, clock: str, day: str) -> bool:
    """By texts of the local clock: another way than the code's."""
    start, end = as_clock(said["start"]), as_clock(said["end"])
    days = said.get("days", EVE)
    if start < end:
        return start <= clock < end and day in days
    return (clock >= start and day in days) or (clock < end and EVE[day] in days)


def as_clock(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:02}:00"


@pytest.mark.parametrize("zone", ZONES)
def test_each_minute_of_a_year_agrees_with_the_oracle(zone: str) -> None:
    rules = [(quiet_hours_of(said, timezone=zone), said) for said in CASES]
    where, at = ZoneInfo(zone), datetime(2026, 1, 1, tzinfo=UTC)
    minute, wrong = timedelta(minutes=1), []

    for _ in range(366 * 1440):
        clock, day = at.astimezone(where).strftime("%H:%M %a").lower().split()
        for quiet, said in rules:
            if quiet.is_quiet(at) != naively_quiet(said, clock=clock, day=day):
                wrong.append((at, said))
        at += minute

    assert not wrong


@pytest.mark.parametrize("zone", ZONES)
def test_the_end_is_the_first_minute_that_is_not_quiet(zone: str) -> None:
    quiet = quiet_hours_of({"start": "22:00", "end": "02:30"}, timezone=zone)
    at = datetime(2026, 1, 1, 0, 7, 13, tzinfo=UTC)

    for _ in range(365):
        end = quiet.ends_at(at)

        assert not quiet.is_quiet(end)
        assert end == at or quiet.is_quiet(end - timedelta(minutes=1))
        at += timedelta(hours=24, minutes=1)


def test_equal_ends_are_never_quiet() -> None:
    quiet = quiet_hours_of({"start": 5, "end": 5})

    assert not any(quiet.is_quiet(datetime(2026, 1, 1, hour, tzinfo=UTC)) for hour in range(24))


@pytest.mark.parametrize(
    "said",
    [
        {"start": 24},
        {"end": "7:60"},
        {"start": True},
        {"days": ["monday"]},
        {"days": "mon"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../etc/passwd"},
        {"begin": 3},
    ],
)
def test_what_is_no_quiet_hours_is_refused_with_the_field(said: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        quiet_hours_of(said)

    assert refusal.value.errors[0]["pointer"].startswith("/quiet_hours/")
