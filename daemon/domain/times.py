"""Time stamps as clients write them, turned into microseconds since 1970 UTC; whole columns at
once."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

INVALID_US = -(2**63)
"""Marks a stamp that can't be read; no accepted stamp has this value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Below: seconds, then milliseconds, then microseconds. 1e11 s is the year 5138, 1e11 ms is 1973.
SECONDS_BELOW = 100_000_000_000
MILLISECONDS_BELOW = 100_000_000_000_000
_MICROSECONDS_BELOW = 2**62


def parse_time(value: Any) -> int:
    """One stamp: ISO 8601 with offset, or epoch seconds, milliseconds or microseconds by magnitude.

    Returns INVALID_US for anything else: naive stamps, booleans, NaN, years outside 1-9999.
    """
    if isinstance(value, str):
        return _parse_iso(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return INVALID_US
    size = abs(value)
    if size < SECONDS_BELOW:
        return round(value * 1_000_000)
    if size < MILLISECONDS_BELOW:
        return round(value * 1000)
    return round(value) if size < _MICROSECONDS_BELOW else INVALID_US


def _parse_iso(text: str) -> int:
    # fromisoformat takes a bare date and any separator; a stamp has a T (or a space) and an offset.
    if len(text) < 17 or text[10] not in "Tt " or not text.isascii():
        return INVALID_US
    try:
        at = datetime.fromisoformat(text)
        return INVALID_US if at.tzinfo is None else (at - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return INVALID_US


def parse_times(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """A column of stamps; INVALID_US where one can't be read. Columns of one layout are read
    without a loop."""
    fast = _parse_layout(values) if values and isinstance(values[0], str) else None
    if fast is not None:
        return fast
    return np.fromiter(map(parse_time, values), np.int64, len(values))


def parse_epochs(
    values: Sequence[float] | npt.NDArray[np.int64], counts: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Columns of epoch numbers, one after the other; `counts` (each >= 1) says how long each is.

    Each column has one unit (s, ms or µs), which its largest magnitude tells; a column beyond any
    unit is INVALID_US throughout.
    """
    numbers = values if isinstance(values, np.ndarray) else _as_numbers(values)
    lengths = np.array(counts, np.int64)
    starts = np.cumsum(lengths) - lengths
    size = np.maximum(
        np.maximum.reduceat(numbers, starts).astype(np.float64),
        -np.minimum.reduceat(numbers, starts).astype(np.float64),
    )
    factors = np.select([size < SECONDS_BELOW, size < MILLISECONDS_BELOW], [1_000_000, 1000], 1)
    is_beyond = ~(size < _MICROSECONDS_BELOW)
    if is_beyond.any():
        numbers = np.where(np.repeat(is_beyond, counts), 0, numbers)
    scaled = numbers * np.repeat(factors, counts)
    if scaled.dtype != np.int64:
        scaled = np.rint(scaled).astype(np.int64)
    times_us: npt.NDArray[np.int64] = scaled
    if is_beyond.any():
        times_us[np.repeat(is_beyond, counts)] = INVALID_US
    return times_us


def _as_numbers(values: Sequence[float]) -> npt.NDArray[Any]:
    """int64 when all are integers that fit, else float64."""
    try:
        # The quickest way to an array that takes no float for an integer.
        return np.frombuffer(struct.pack(f"{len(values)}q", *values), np.int64)
    except struct.error:
        return np.array(values, np.float64)


@dataclass(frozen=True, slots=True)
class _Layout:
    """One way of writing a stamp, e.g. `YYYY-MM-DDTHH:MM:SS.fffZ`, all columns as long as the text.

    template  uint8   the text with 0 for every digit: text XOR template is the digit, or 0 for a
        separator
    highest   uint8   9 where a digit stands, 0 elsewhere
    worth     float32 (length, 8): what a digit adds to year, month, day, hour, minute, second,
        microsecond, offset
    """

    template: npt.NDArray[np.uint8]
    highest: npt.NDArray[np.uint8]
    worth: npt.NDArray[np.float32]


def _parse_layout(values: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """A column of strings that all look like the first; None when they don't, or one is no
    stamp."""
    length = len(values[0])
    try:
        text = "".join(values).encode("ascii")
    except (TypeError, UnicodeEncodeError):
        return None
    layout = _layout(values[0]) if 20 <= length <= 32 else None
    if layout is None or list(map(len, values)).count(length) != len(values):
        return None
    chars = np.frombuffer(text, np.uint8).reshape(len(values), length)
    of_one_day = _parse_day(chars, values[0])
    if of_one_day is not None:
        return of_one_day
    digits = chars ^ layout.template
    if (digits > layout.highest).any():
        return None
    # Exact: every part is below 2^24, where float32 still counts by one.
    parts = np.ascontiguousarray((digits.astype(np.float32) @ layout.worth).T)
    highest = parts.max(axis=1)
    if (highest[3:] >= _PAST_END).any():
        return None
    days = _days(parts[:3], highest[:3])
    if days is None:
        return None
    clock = parts[3] * 3600 + parts[4] * 60 + parts[5]
    times_us: npt.NDArray[np.int64] = (clock.astype(np.int64) + days * 86_400) * 1_000_000
    if highest[6]:
        times_us += parts[6].astype(np.int64)
    if parts[7].any():
        times_us -= parts[7].astype(np.int64) * 60_000_000
    return times_us


@dataclass(frozen=True, slots=True)
class _Day:
    """Stamps of one day and zone: all characters but those of clock and fraction are the same.

    template, highest   as of a _Layout; where no digit may differ, the character itself and 0
    seconds, micros     float32 (length,): what a digit adds to the clock; micros None without any
    start_us            midnight of that day in that zone
    """

    template: npt.NDArray[np.uint8]
    highest: npt.NDArray[np.uint8]
    seconds: npt.NDArray[np.float32]
    micros: npt.NDArray[np.float32] | None
    start_us: int


def _parse_day(chars: npt.NDArray[np.uint8], first: str) -> npt.NDArray[np.int64] | None:
    """Stamps that share the day and the zone of the first, as those of a batch do; else None."""
    day = _day_of(first[:10], first[19:].translate(_DIGITS_TO_ZERO), first[19:].lstrip(_FRACTION))
    if day is None:
        return None
    digits = chars ^ day.template
    if (digits > day.highest).any():
        return None
    numbers = digits.astype(np.float32)
    # Exact: below 2^24, float32 counts by one.
    clock = numbers @ day.seconds
    if clock.max() >= 86_400:
        return None
    times_us: npt.NDArray[np.int64] = clock.astype(np.int64) * 1_000_000 + day.start_us
    if day.micros is not None:
        times_us += (numbers @ day.micros).astype(np.int64)
    return times_us


_FRACTION = ".0123456789"
_DIGITS_TO_ZERO = str.maketrans("123456789", "0" * 9)


@lru_cache(256)
def _day_of(date: str, layout_end: str, zone: str) -> _Day | None:
    """The day of stamps `<date>T..:..:..<fraction><zone>`; `layout_end` has zeros for digits."""
    start_us = _parse_iso(f"{date}T00:00:00{zone}")
    if start_us == INVALID_US:
        return None
    fraction = len(layout_end) - len(zone)
    clock = "T00:00:00"
    text = f"{date}{clock}{layout_end[:fraction]}{zone}"
    highest = np.zeros(len(text), np.uint8)
    highest[[11, 12, 14, 15, 17, 18]] = [2, 9, 5, 9, 5, 9]
    highest[20 : 19 + fraction] = 9
    seconds = np.zeros(len(text), np.float32)
    seconds[[11, 12, 14, 15, 17, 18]] = [36_000, 3600, 600, 60, 10, 1]
    micros = np.zeros(len(text), np.float32)
    micros[20 : 19 + fraction] = [10 ** (6 - digit) for digit in range(1, fraction)]
    template = np.frombuffer(text.encode(), np.uint8)
    return _Day(template, highest, seconds, micros if fraction else None, start_us)


# One past the highest hour, minute, second, microsecond and offset in minutes.
_PAST_END = np.array([24, 60, 60, 1_000_000, 24 * 60])
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
# (part, weight) of each character of YYYY-MM-DDTHH:MM:SS; None for separators.
_WORTH_OF_DATE_AND_CLOCK = (
    *((0, 1000), (0, 100), (0, 10), (0, 1), None, (1, 10), (1, 1), None, (2, 10), (2, 1), None),
    *((3, 10), (3, 1), None, (4, 10), (4, 1), None, (5, 10), (5, 1)),
)


def _layout(text: str) -> _Layout | None:
    """The layout of this text, or None when a column of it can't be read at once."""
    found = _STAMP.fullmatch(text)
    if found is None or found[2][1:] > "23:59":
        return None
    return _layout_of(re.sub(r"\d", "0", text), len(found[1] or ""))


@lru_cache(64)
def _layout_of(template: str, fraction: int) -> _Layout:
    worth = np.zeros((len(template), 8), np.float32)
    for at, known in enumerate(_WORTH_OF_DATE_AND_CLOCK):
        if known is not None:
            worth[at, known[0]] = known[1]
    for digit in range(1, fraction):
        worth[19 + digit, 6] = 10 ** (6 - digit)
    if not template.endswith("Z"):
        sign = -1 if template[-6] == "-" else 1
        worth[[-5, -4, -2, -1], 7] = np.array([600, 60, 10, 1]) * sign
    chars = np.frombuffer(template.encode(), np.uint8)
    return _Layout(chars, np.where(chars == ord("0"), 9, 0).astype(np.uint8), worth)


def _days(
    dates: npt.NDArray[np.float32], highest: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64] | int | None:
    """Days since 1970 of the columns year, month and day; None when one is not a date."""
    if (dates.min(axis=1) == highest).all():
        return _days_of(*highest.astype(int).tolist())
    year, month, day = dates.astype(np.int64)
    if year.min() < 1 or month.min() < 1 or month.max() > 12 or day.min() < 1:
        return None
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return None if (day > after - first).any() else first + day - 1


def _days_of(year: int, month: int, day: int) -> int | None:
    try:
        return (datetime(year, month, day, tzinfo=UTC) - _EPOCH).days
    except ValueError:
        return None
