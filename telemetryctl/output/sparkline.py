"""A series as one line of blocks: `▂▁▃▅█`. Larger pictures are plot's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"
MISSING = " "


def can_draw_blocks() -> bool:
    """Whether stdout's encoding has block characters; elsewhere they would become `?`."""
    try:
        (BLOCKS + "⣿┤").encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[float | None], *, blocks: str = BLOCKS) -> str:
    """One character a value between the smallest and the largest; a space for a missing one.

    A series that never changes is a line at half height.
    """
    known = [value for value in values if value is not None and isfinite(value)]
    if not known:
        return MISSING * len(values)
    low, high = min(known), max(known)
    return "".join(_block(value, low, high, blocks) for value in values)


def _block(value: float | None, low: float, high: float, blocks: str) -> str:
    if value is None or not isfinite(value):
        return MISSING
    # Half of the smallest numbers there are is nothing: they are as good as equal.
    if high / 2 == low / 2:
        return blocks[len(blocks) // 2 - 1]
    # Halves first: high - low of two huge numbers is infinite.
    share = (value / 2 - low / 2) / (high / 2 - low / 2)
    return blocks[min(int(share * len(blocks)), len(blocks) - 1)]
