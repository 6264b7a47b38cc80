"""Text of times and values for whole columns at once; what goes around them is decided by JSON and
CSV.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from daemon.domain.block import Block
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName

SECOND_US = 1_000_000
DAY_S = 86_400
DAY_RUNS_MAX = 64
FEW_INTEGERS = 8
"""One number in so many, or fewer, that is an integer is shortened by itself."""


def time_texts(times_us: npt.NDArray[np.int64]) -> list[bytes]:
    """ISO 8601 UTC with `Z` of each time, microseconds only where there are any; years 1 to
    9999."""
    is_first = np.ones(len(times_us), np.bool_)
    np.not_equal(times_us[1:], times_us[:-1], out=is_first[1:])
    firsts = np.flatnonzero(is_first)
    if 2 * len(firsts) > len(times_us):
        return _each_text(times_us)
    # Many series at the same instants: each run of equal times is written once.
    texts = np.array(_each_text(times_us[firsts]), object)
    repeated: list[bytes] = texts.repeat(np.diff(firsts, append=len(times_us))).tolist()
    return repeated


def _each_text(times_us: npt.NDArray[np.int64]) -> list[bytes]:
    seconds = times_us // SECOND_US
    micros = times_us - seconds * SECOND_US
    if micros.any():
        return _with_micros(seconds, micros)
    digits = np.empty((len(times_us), 20), np.uint8)
    _write_seconds(digits, seconds)
    return _rows(digits)


def _with_micros(seconds: npt.NDArray[np.int64], micros: npt.NDArray[np.int64]) -> list[bytes]:
    digits = np.zeros((len(seconds), 27), np.uint8)
    _write_seconds(digits, seconds)
    fractions = np.flatnonzero(micros)
    part = np.zeros((len(fractions), 8), np.uint8)
    part[:, 0] = ord(".")
    _write_digits(part, micros[fractions], at=1, count=6)
    part[:, 7] = ord("Z")
    # Rows without a fraction end in NULs, which numpy drops from fixed-width bytes.
    digits[fractions, 19:] = part
    return _rows(digits)


def _write_seconds(digits: npt.NDArray[np.uint8], seconds: npt.NDArray[np.int64]) -> None:
    """`YYYY-MM-DDThh:mm:ssZ` into the first 20 columns."""
    days = seconds // DAY_S
    digits[:, :10] = _date_digits(days)
    digits[:, 10] = ord("T")
    digits[:, 11:19] = _clock_digits()[seconds - days * DAY_S]
    digits[:, 19] = ord("Z")


@cache
def _clock_digits() -> npt.NDArray[np.uint8]:
    """`hh:mm:ss` of every second of a day, 8 bytes each."""
    table = np.full((DAY_S, 8), ord(":"), np.uint8)
    second = np.arange(DAY_S)
    for at, column in ((0, second // 3600), (3, second // 60 % 60), (6, second % 60)):
        _write_digits(table, column, at=at, count=2)
    return table


def _rows(digits: npt.NDArray[np.uint8]) -> list[bytes]:
    texts: list[bytes] = digits.reshape(-1).view(f"S{digits.shape[1]}").tolist()
    return texts


def _date_digits(days: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """`YYYY-MM-DD` of each day since 1970, one row of 10 bytes each."""
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    if len(starts) <= DAY_RUNS_MAX:
        # Rows in order of time are few runs of one day each.
        return np.repeat(_date_table(days[starts]), np.diff(np.append(starts, len(days))), axis=0)
    distinct, index = np.unique(days, return_inverse=True)
    return _date_table(distinct)[index]


def _date_table(days: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    texts = np.datetime_as_string(days.astype("datetime64[D]")).astype("S10")
    table: npt.NDArray[np.uint8] = texts.view(np.uint8).reshape(-1, 10)
    return table


def _write_digits(
    digits: npt.NDArray[np.uint8], column: npt.NDArray[Any], *, at: int, count: int
) -> None:
    for place in range(at + count - 1, at - 1, -1):
        column, digit = np.divmod(column, 10)
        digits[:, place] = digit + ord("0")


def number_texts(numbers: npt.NDArray[np.float64]) -> list[bytes]:
    """Shortest JSON text of each number, `25` rather than `25.0`; `null` for NaN and infinities."""
    column = np.ascontiguousarray(numbers)
    whole = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    integers = np.flatnonzero(column == np.rint(column))
    if FEW_INTEGERS * len(integers) > len(column):
        # A trailing comma lets one replacement reach the last number too.
        return (whole + b",").replace(b".0,", b",").split(b",")[:-1]
    texts = whole.split(b",") if len(column) else []
    for row in integers.tolist():
        texts[row] = texts[row].removesuffix(b".0")
    return texts


def value_texts(block: Block, names: Mapping[int, SeriesName]) -> list[bytes]:
    """JSON text of the value of each row; numbers of a boolean series are true and false."""
    texts = number_texts(block.numbers)
    flags = [i for i, name in names.items() if name.kind == Kind.BOOLEAN]
    if flags:
        for row in np.flatnonzero(np.isin(block.series_ids, flags)).tolist():
            texts[row] = b"true" if block.numbers[row] else b"false"
    for row, value in block.objects.items():
        texts[row] = object_text(value)
    return texts


def object_text(value: Any) -> bytes:
    """JSON text of one value that is not in the numbers."""
    if isinstance(value, float):
        return number_texts(np.array([value]))[0]
    return orjson.dumps(value)
