"""A box of the map in a query: `bbox=west,south,east,north` in degrees."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Query

from daemon.domain.devices import Box
from daemon.domain.errors import Malformed

_DEGREES = r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?"
BoxText = Annotated[
    str,
    Query(
        max_length=200,
        pattern=rf"^{_DEGREES}(, ?{_DEGREES}){{3}}$",
        description="west,south,east,north in degrees",
    ),
]


def parse_box(text: str) -> Box:
    """Raises Malformed unless the text is `west,south,east,north` in degrees."""
    try:
        box = Box(*(float(part) for part in text.split(",")))
    except (ValueError, TypeError) as error:
        raise Malformed("bbox is west,south,east,north in degrees") from error
    is_on_earth = (
        all(map(math.isfinite, box))
        and max(abs(box.west), abs(box.east)) <= 180
        and -90 <= box.south <= box.north <= 90
    )
    if not is_on_earth:
        raise Malformed("bbox is west,south,east,north in degrees, with south below north")
    return box
