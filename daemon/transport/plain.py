"""The single point that nearly every device sends: a number, without tags."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from daemon.domain.times import INVALID_US, parse_time
from daemon.transport import wire
from daemon.transport.contexts import BadContext, context_of
from daemon.transport.values import EXACT_INTEGER_MAX


class PlainBody(NamedTuple):
    """A decoded body; `context` is canonical JSON of the unit."""

    metric_name: str
    time_us: int
    number: float
    context: bytes | None


def decode_plain(body: bytes) -> PlainBody | None:
    """The point, or None when the body needs the long way: it may hold anything, and be refused."""
    try:
        point = wire.number_point(body)
        if point.tags is not wire.ABSENT or point.metadata is not wire.ABSENT:
            return None
        context = None if point.unit is None else context_of((point.unit, b"", b""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadContext):
        return None
    time_us = parse_time(point.timestamp)
    # Larger ones may have been integers that lost digits; so may an infinity.
    if time_us == INVALID_US or not -EXACT_INTEGER_MAX < point.value < EXACT_INTEGER_MAX:
        return None
    return PlainBody(point.metric_name, time_us, point.value, context)
