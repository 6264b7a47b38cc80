"""The newest point of one series, as the memory view and the table both hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
