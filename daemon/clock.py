"""The only reader of the system time; everything else takes `now` or a Clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Wall time for data, monotonic time for waiting."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    # Asked several times for each point: without a call of ours in between.
    monotonic_s = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves only when told, for tests."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / 1e6

    def advance_s(self, seconds: float) -> None:
        self._now_us += round(seconds * 1e6)


def as_datetime(us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC datetime, exactly."""
    seconds, micros = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def as_us(at: datetime) -> int:
    """An aware datetime as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND
