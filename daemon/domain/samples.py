"""Rows of one series as the samples that rules judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemon.domain.alerts import Sample
from daemon.domain.block import Block


def samples_of(
    block: Block,
    start: int = 0,
    end: int | None = None,
    *,
    is_boolean: bool,
    arrived_us: int | None = None,
) -> Iterator[Sample]:
    """The samples of rows start..end, in their order; numbers of a boolean series are truth values.

    Without `arrived_us` each arrived when it happened.
    """
    times, numbers = block.times_us[start:end].tolist(), block.numbers[start:end].tolist()
    for row, (time_us, number) in enumerate(zip(times, numbers, strict=True), start):
        value: Any = block.objects.get(row) if number != number else number
        if is_boolean and isinstance(value, float):
            value = bool(value)
        yield Sample(time_us, value, time_us if arrived_us is None else arrived_us)
