"""JSON arrays of numbers, still as text, into one numpy array: the columns of a columns body."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

DIGITS_MAX = 15
"""So many digits are a whole number that float64 holds exactly."""
_ZERO, _NINE, _COMMA, _BRACKET = 48, 9, 44, 91

_floats = msgspec.json.Decoder(list[float]).decode
_integers = msgspec.json.Decoder(list[int]).decode


@dataclass(frozen=True, slots=True)
class Columns:
    """Numbers of several arrays one after the other; `counts` says how many each one had."""

    numbers: npt.NDArray[Any]
    counts: list[int]


def read_floats(arrays: Sequence[msgspec.Raw]) -> Columns | None:
    """The arrays as float64; None when one is empty, no array, or holds anything but numbers.

    Each must be valid JSON, which msgspec has checked when it made the Raw.
    """
    texts = _texts(arrays)
    if texts is None:
        return None
    return _of_one_width(texts) or _decoded(texts, _floats, "d")


def read_integers(arrays: Sequence[msgspec.Raw]) -> Columns | None:
    """The same as int64, for integers only."""
    texts = _texts(arrays)
    return None if texts is None else _decoded(texts, _integers, "q")


def _texts(arrays: Sequence[msgspec.Raw]) -> list[bytes] | None:
    """What stands between the brackets of each; None when one is no array."""
    texts = [bytes(array) for array in arrays]
    if not all(text[0] == _BRACKET for text in texts):
        return None
    return [text[1:-1].replace(b" ", b"") for text in texts]


def _of_one_width(texts: list[bytes]) -> Columns | None:
    """Numbers that all look like the first, as values of fixed decimals do, else None.

    Exact: the digits and the power of ten are, and a division is rounded correctly.
    """
    first = texts[0].partition(b",")[0]
    whole, _, decimals = first.lstrip(b"-").partition(b".")
    width = len(first) + 1
    if not (whole + decimals).isdigit() or len(whole) + len(decimals) > DIGITS_MAX:
        return None
    if any((len(text) + 1) % width for text in texts):
        return None
    rows = np.frombuffer(b",".join([*texts, b""]), np.uint8).reshape(-1, width)
    digits = np.zeros(len(rows), np.float64)
    largest = np.zeros(len(rows), np.uint8)
    for at, char in enumerate(first + b","):
        column = rows[:, at]
        if char in b"-.,":
            if (column != char).any():
                return None
            continue
        # What is no digit becomes 10 or more: bytes do not go below 0.
        digit = column - np.uint8(_ZERO)
        np.maximum(largest, digit, out=largest)
        digits *= 10
        digits += digit
    if largest.max() > _NINE:
        return None
    if decimals:
        digits /= 10.0 ** len(decimals)
    numbers = -digits if first[:1] == b"-" else digits
    return Columns(numbers, [(len(text) + 1) // width for text in texts])


def _decoded(texts: list[bytes], decode: Any, code: str) -> Columns | None:
    """Numbers through Python's own, which is the way for any text."""
    try:
        values = decode(b"[" + b",".join(texts) + b"]")
        packed = struct.pack(f"{len(values)}{code}", *values)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, struct.error):
        return None
    # An empty array among others was malformed; nothing but numbers is left, so commas part them.
    counts = [text.count(b",") + 1 for text in texts]
    return Columns(np.frombuffer(packed, np.dtype(code)), counts) if values else None
