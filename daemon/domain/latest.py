"""The newest point of one series, as the memory view and the table both hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daemon.domain.kinds import Kind


@dataclass(frozen=True, slots=True)
class LatestPoint:
    """`value` and `previous_value` are a float, or the object as it came; `context` is canonical
    JSON or None.

    `changed_at_us` is the time of the first point of the present run of equal values.
    """

    series_id: int
    time_us: int
    seq: int
    value: Any
    context: bytes | None
    changed_at_us: int
    previous_value: Any


def as_value(value: Any, kind: Kind) -> Any:
    """A value as people wrote it: booleans of a boolean series, whole numbers without fraction."""
    if not isinstance(value, float):
        return value
    # Another number was sent as a number.
    if kind == Kind.BOOLEAN and value in (0.0, 1.0):
        return bool(value)
    # Beyond 2**53 a double names many integers, so none of them is meant.
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value
