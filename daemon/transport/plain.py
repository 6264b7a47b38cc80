"""The single point that nearly every device sends: a number, without tags."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
import orjson

from daemon.domain.plain import PlainPoint
from daemon.domain.times import INVALID_US, parse_time
from daemon.service.ingest import Ingest
from daemon.transport import wire
from daemon.transport.contexts import BadContext, context_of
from daemon.transport.values import EXACT_INTEGER_MAX


class PlainBody(NamedTuple):
    """A decoded body; `context` is canonical JSON of the unit."""

    metric_name: str
    time_us: int
    number: float
    context: bytes | None


def queue_plain(
    ingest: Ingest, device_id: str, body: bytes
) -> tuple[str, asyncio.Future[int]] | None:
    """Put a point that needs no second look into the queue; its metric, and what is done when it is
    committed. None leaves it undone. Raises Busy."""
    found = decode_plain(body)
    if found is None:
        return None
    series_id = ingest.plain_series(
        device_id, found.metric_name, time_us=found.time_us, number=found.number
    )
    if series_id is None:
        return None
    point = PlainPoint(series_id, found.time_us, found.number, found.context)
    return found.metric_name, ingest.commit_plain(point)


def stored_answer(device_id: str, metric_name: str, *, is_dry_run: bool = False) -> bytes:
    """The answer to a single point."""
    message = "Data point is valid" if is_dry_run else "Data point ingested successfully"
    return orjson.dumps(
        {
            "success": True,
            "message": message,
            "device_id": device_id,
            "metric_name": metric_name,
        }
    )


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
