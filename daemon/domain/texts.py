"""Text of times and values for whole columns at once; what goes around them is decided by JSON and
CSV.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from daemon.domain.block import Block
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName

SECOND_US = 1_000_000
DAY_S = 86_400


def time_texts(times_us: npt.NDArray[np.int64]) -> list[bytes]:
    """ISO 8601 UTC with `Z` of each time, microseconds only where there are any; years 1 to
    9999.
    """
    n = len(times_us)
    seconds = times_us // SECOND_US
    micros = times_us - seconds * SECOND_US
    has_micros = bool(micros.any())
    width = 27 if has_micros else 20
    digits = np.zeros((n, width), np.uint8)
    days = seconds // DAY_S
    second_of_day = (seconds - days * DAY_S).astype(np.int32)
    digits[:, :10] = _date_digits(days)
    digits[:, 10] = ord("T")
    digits[:, [13, 16]] = ord(":")
    hours, rest = np.divmod(second_of_day, 3600)
    for at, column in ((11, hours), (14, rest // 60), (17, rest % 60)):
        _write_digits(digits, column, at=at, count=2)
    digits[:, 19] = ord("Z")
    if has_micros:
        fractions = np.flatnonzero(micros)
        part = np.zeros((len(fractions), 8), np.uint8)
        part[:, 0] = ord(".")
        _write_digits(part, micros[fractions], at=1, count=6)
        part[:, 7] = ord("Z")
        # Rows without a fraction end in NULs, which numpy drops from fixed-width bytes.
        digits[fractions, 19:] = part
    texts: list[bytes] = digits.reshape(-1).view(f"S{width}").tolist()
    return texts


def _date_digits(days: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """`YYYY-MM-DD` of each day since 1970, one row of 10 bytes each."""
    if days[0] == days[-1] and bool((days == days[0]).all()):
        return np.frombuffer(str(np.datetime64(int(days[0]), "D")).encode(), np.uint8)
    distinct, index = np.unique(days, return_inverse=True)
    texts = np.datetime_as_string(distinct.astype("datetime64[D]")).astype("S10")
    table: npt.NDArray[np.uint8] = texts.view(np.uint8).reshape(-1, 10)
    return table[index]


def _write_digits(
    digits: npt.NDArray[np.uint8], column: npt.NDArray[Any], *, at: int, count: int
) -> None:
    for place in range(at + count - 1, at - 1, -1):
        column, digit = np.divmod(column, 10)
        digits[:, place] = digit + ord("0")


def number_texts(numbers: npt.NDArray[np.float64]) -> list[bytes]:
    """Shortest JSON text of each number, `25` rather than `25.0`; `null` for NaN and infinities."""
    column = np.ascontiguousarray(numbers)
    whole = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)
    # A trailing comma lets one replacement reach the last number too.
    return (whole[1:-1] + b",").replace(b".0,", b",").split(b",")[:-1]


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
