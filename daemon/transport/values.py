"""Values and contexts of points into the columns of a draft; what can't be stored is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.kinds import Kind
from daemon.domain.points import UNDECODED, Draft, Refusal
from daemon.transport.contexts import BadContext, context_of, is_storable

VALUE_BYTES_MAX = 65_536
EXACT_INTEGER_MAX = 2**53


ContextKey = str | None | tuple[str | None, bytes, bytes]
"""A unit alone, or unit, raw tags and raw metadata."""

NO_UNIT = "\0"
"""Stands for a unit that is no string; a NUL is in no unit that is accepted."""


_NOT_FINITE = ("not_finite", "a number is larger than any double, so it is not finite")


class NotExactError(Exception):
    """A number is so large that it may have been an integer that lost digits: decode again, telling
    them apart."""


def set_numbers(draft: Draft, numbers: npt.NDArray[np.float64]) -> None:
    """Take values that all are numbers. Raises NotExactError."""
    if max(numbers.max(), -numbers.min()) >= EXACT_INTEGER_MAX:
        raise NotExactError
    draft.numbers = numbers


def set_values(draft: Draft, values: list[Any], *, all_numbers: bool) -> None:
    """Fill numbers, kinds and objects; refuse values that can't be stored."""
    if all_numbers:
        # The quickest way from a list of floats to an array.
        set_numbers(draft, np.frombuffer(struct.pack(f"{len(values)}d", *values)))
        return
    numbers = np.full(len(values), np.nan)
    kinds = np.zeros(len(values), np.uint8)
    refused = {r.row for r in draft.refusals}
    for row, value in enumerate(values):
        if row in refused:
            continue
        kind, number, why = _classify(value)
        if why is not None:
            draft.refusals.append(Refusal(row, *why))
            continue
        kinds[row] = kind
        if number is None:
            draft.objects[row] = value
        else:
            numbers[row] = number
    draft.numbers = numbers
    draft.kinds = None if (kinds == Kind.NUMERIC).all() else kinds


def _classify(value: Any) -> tuple[int, float | None, tuple[str, str] | None]:
    """(kind, number, why refused): the number is None for objects."""
    if isinstance(value, bool):
        return Kind.BOOLEAN, float(value), None
    if isinstance(value, float):
        if not isfinite(value):
            return UNDECODED, None, _NOT_FINITE
        return Kind.NUMERIC, value, None
    if isinstance(value, int):
        if abs(value) > EXACT_INTEGER_MAX:
            return UNDECODED, None, ("bad_value", "an integer lies between -2^53 and 2^53")
        return Kind.NUMERIC, float(value), None
    if isinstance(value, str):
        return _classify_text(value)
    if isinstance(value, dict | list):
        return _classify_object(value)
    if value is msgspec.UNSET:
        return (
            UNDECODED,
            None,
            ("bad_value", "a point is an object with timestamp, metric_name and value"),
        )
    return (
        UNDECODED,
        None,
        ("unknown_type", "value must be a number, string, boolean, object or array"),
    )


def _classify_text(value: str) -> tuple[int, float | None, tuple[str, str] | None]:
    if len(value) > VALUE_BYTES_MAX or len(value.encode()) > VALUE_BYTES_MAX:
        return UNDECODED, None, ("too_large", f"value is larger than {VALUE_BYTES_MAX} bytes")
    if "\0" in value:
        return UNDECODED, None, ("bad_value", "value holds a NUL character")
    return Kind.STRING, None, None


def _classify_object(value: Any) -> tuple[int, float | None, tuple[str, str] | None]:
    if not is_storable(value):
        return UNDECODED, None, ("bad_value", "value holds a NUL character or is nested too deeply")
    text = msgspec.json.encode(value)
    if len(text) > VALUE_BYTES_MAX:
        return UNDECODED, None, ("too_large", f"value is larger than {VALUE_BYTES_MAX} bytes")
    # An infinity is written as null.
    if b"null" in text and not _is_finite(value):
        return UNDECODED, None, _NOT_FINITE
    return Kind.JSON, None, None


def _is_finite(value: Any) -> bool:
    """Whether every number in it is; it is nested no deeper than `is_storable` allows."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def assign_contexts(draft: Draft, keys: Sequence[ContextKey]) -> None:
    """Give each row the context of its key; rows whose key is no context are refused."""
    index: dict[bytes, int] = {}
    places: dict[ContextKey, int] = {}
    wrong: dict[ContextKey, str] = {}
    for key in dict.fromkeys(keys):
        try:
            places[key] = place_of(key, index)
        except BadContext as error:
            wrong[key], places[key] = str(error), -1
    if wrong:
        for row, key in enumerate(keys):
            if key in wrong:
                refuse_rows(draft, [row], wrong[key])
    if not index:
        return
    draft.contexts = list(index)
    if len(places) == 1:
        draft.context_of = np.zeros(len(keys), np.int32)
    else:
        draft.context_of = np.fromiter(map(places.__getitem__, keys), np.int32, len(keys))


def place_of(key: ContextKey, index: dict[bytes, int]) -> int:
    """The place of a key's context in the index, -1 for an empty one. Raises BadContext."""
    if key is None:
        return -1
    unit, tags, metadata = key if isinstance(key, tuple) else (key, b"", b"")
    if unit is NO_UNIT:
        raise BadContext("unit must be a string")
    context = context_of((unit, tags, metadata))
    return -1 if context is None else index.setdefault(context, len(index))


def refuse_rows(draft: Draft, rows: Sequence[int], why: str, *, code: str = "bad_value") -> None:
    """Refuse these points, but for those that are already."""
    if draft.kinds is None:
        draft.kinds = np.full(len(draft), Kind.NUMERIC, np.uint8)
    for row in rows:
        if draft.kinds[row] != UNDECODED:
            draft.refusals.append(Refusal(row, code, why))
            draft.kinds[row] = UNDECODED
            draft.objects.pop(row, None)
