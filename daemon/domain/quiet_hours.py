"""Hours in which nobody is told: whether an instant lies in them, and when they end.

What is done with a message meanwhile is decided in service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.errors import Invalid

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
START_DEFAULT, END_DEFAULT = 22, 7
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_MINUTE = timedelta(minutes=1)
_DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` inclusive to `end` exclusive, in minutes of the local day; may span midnight.

    Equal ends mean never. `days` are those on which a window begins, Monday 0.
    """

    start: int
    end: int
    days: frozenset[int]
    zone: ZoneInfo
    include_critical: bool = False

    def is_quiet(self, at: datetime) -> bool:
        """Whether this instant (with a zone) lies in the quiet hours, by the local wall clock."""
        local = at.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start <= self.end:
            return self.start <= minute < self.end and day in self.days
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days

    def ends_at(self, at: datetime) -> datetime:
        """The first full minute from `at` on that is not quiet; `at` itself when it is not.

        Found minute by minute: local clocks are put forward and back, and a window never lasts
        longer than two days.
        """
        if not self.is_quiet(at):
            return at
        at = at.replace(second=0, microsecond=0)
        for _ in range(2 * _DAY_MINUTES):
            at += _MINUTE
            if not self.is_quiet(at):
                return at
        return at


def quiet_hours_of(said: Mapping[str, Any], *, timezone: str = "UTC") -> QuietHours:
    """The quiet hours of a rule's or watch's field (contract 7.1). Raises Invalid."""
    unknown = set(said) - {"start", "end", "days", "timezone", "include_critical"}
    if unknown:
        raise _wrong(sorted(unknown)[0], "is not a field of quiet hours")
    days = said.get("days")
    if days is not None and (not isinstance(days, list) or not set(days) <= set(DAYS)):
        raise _wrong("days", "is a list of mon, tue, wed, thu, fri, sat, sun")
    return QuietHours(
        _minutes("start", said.get("start", START_DEFAULT)),
        _minutes("end", said.get("end", END_DEFAULT)),
        frozenset(range(7) if days is None else (DAYS.index(day) for day in days)),
        _zone(said.get("timezone") or timezone),
        bool(said.get("include_critical", False)),
    )


def _minutes(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 23:
        return value * 60
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong(name, 'is an hour from 0 to 23, or a time such as "22:30"')
    return int(found[1]) * 60 + int(found[2])


def _zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # ZoneInfo raises several kinds for names that are no zone, also for those of folders.
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise _wrong("timezone", "is an IANA name such as Europe/Zurich") from error


def _wrong(field: str, what: str) -> Invalid:
    errors = [
        {"pointer": f"/quiet_hours/{field}", "code": "bad_value", "detail": f"{field} {what}"}
    ]
    return Invalid(f"quiet_hours: {field} {what}", errors=errors)
