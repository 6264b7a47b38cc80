"""Points that came alone and need no arrays: a number of a known series, judged already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.domain.block import Block


@dataclass(slots=True)
class PlainPoint:
    """One point as a Block would hold it; `context` is canonical JSON. Never changed; a frozen one
    takes four times as long to make."""

    series_id: int
    time_us: int
    number: float
    context: bytes | None

    def __len__(self) -> int:
        return 1


def block_of(points: Sequence[PlainPoint]) -> Block:
    """The points in their order, as one block."""
    index: dict[bytes, int] = {}
    places = [-1 if p.context is None else index.setdefault(p.context, len(index)) for p in points]
    return Block(
        np.array([p.series_id for p in points], np.int32),
        np.array([p.time_us for p in points], np.int64),
        np.array([p.number for p in points], np.float64),
        np.array(places, np.int32) if index else None,
        list(index),
    )


def assemble(parts: Sequence[Block | PlainPoint]) -> list[Block]:
    """Blocks in the order of the parts; neighbouring points become one."""
    blocks: list[Block] = []
    points: list[PlainPoint] = []
    for part in parts:
        if isinstance(part, PlainPoint):
            points.append(part)
            continue
        if points:
            blocks.append(block_of(points))
            points = []
        blocks.append(part)
    if points:
        blocks.append(block_of(points))
    return blocks
