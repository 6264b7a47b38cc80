"""Row-shaped bodies of the ingest routes into drafts, column by column.

A body that does not fit its shape is read again point by point, so that one broken point fails
itself only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.errors import Invalid
from daemon.domain.points import Draft
from daemon.domain.times import parse_times
from daemon.transport import wire
from daemon.transport.contexts import units_seen
from daemon.transport.values import NO_UNIT, ContextKey, NotExactError, assign_contexts, set_values
from daemon.transport.wire import (
    AnyPoint,
    Lean,
    LeanPoint,
    LoosePoint,
    NumberPoint,
    Request,
    first_that_fits,
)

KNOWN_METRICS_MAX = 64
"""A decoder is made for the metrics of a device up to so many."""

Points = list[LeanPoint] | list[NumberPoint] | list[AnyPoint] | list[LoosePoint]


def decode_point(body: bytes, device_id: str) -> Draft:
    """A single point. Raises Malformed when the body is no JSON object."""
    try:
        return _draft(
            device_id,
            [first_that_fits(body, (wire.number_point, wire.any_point, wire.loose_point))],
        )
    except NotExactError:
        return _draft(device_id, [first_that_fits(body, (wire.any_point, wire.loose_point))])


def decode_batch(body: bytes, device_id: str, known: Collection[str] = ()) -> Request:
    """A batch; `known` are metrics that the device has sent before. Raises Malformed, Invalid when
    there are no data_points, TooLarge over wire.BATCH_POINTS_MAX."""
    try:
        shapes: tuple[Any, ...] = (
            wire.lean_batch,
            wire.number_batch,
            wire.any_batch,
            wire.raw_batch,
        )
        if 0 < len(known) <= KNOWN_METRICS_MAX:
            shapes = (wire.lean_batch_of(tuple(known), units_seen()), *shapes)
        return _batch(first_that_fits(body, shapes), device_id)
    except NotExactError:
        return _batch(first_that_fits(body, (wire.any_batch, wire.raw_batch)), device_id)


def _batch(batch: Any, device_id: str) -> Request:
    points = _loosened(batch.data_points) if isinstance(batch, wire.RawBatch) else batch.data_points
    wire.check_count(len(points), wire.BATCH_POINTS_MAX, what="a batch")
    if not points:
        raise Invalid("data_points is empty", code="empty")
    wire.check_batch_id(batch.batch_id)
    draft = _draft(device_id, points)
    return Request([(device_id, draft)], batch.batch_id, batch.compression)


def decode_bulk(body: bytes) -> Request:
    """Points of several devices. Raises as decode_batch, over wire.BULK_POINTS_MAX."""
    try:
        shapes = (wire.lean_bulk, wire.number_bulk, wire.any_bulk, wire.raw_bulk)
        return _bulk(first_that_fits(body, shapes))
    except NotExactError:
        return _bulk(first_that_fits(body, (wire.any_bulk, wire.raw_bulk)))


def _bulk(bulk: dict[str, Any]) -> Request:
    wire.check_count(sum(map(len, bulk.values())), wire.BULK_POINTS_MAX, what="a bulk")
    if not any(bulk.values()):
        raise Invalid("there is no point in the body", code="empty")
    drafts = []
    for device_id, points in bulk.items():
        if points:
            if isinstance(points[0], msgspec.Raw):
                points = _loosened(points)
            drafts.append((device_id, _draft(device_id, points)))
    return Request(drafts)


def _loosened(raws: Sequence[msgspec.Raw]) -> list[LoosePoint]:
    """Points one by one; what is no object becomes a point without anything."""
    points = []
    for raw in raws:
        try:
            points.append(wire.loose_point(raw))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            points.append(LoosePoint())
    return points


def _draft(device_id: str, points: Points) -> Draft:
    """Columns of row-shaped points of one device."""
    times_us = parse_times([p.timestamp for p in points])
    names = [p.metric_name for p in points]
    if isinstance(points[0], LoosePoint):
        names = [n if isinstance(n, str) else "" for n in names]
    metrics, key_of = _keys(names)
    draft = Draft([device_id] * len(metrics), metrics, key_of, times_us, _NO_NUMBERS)
    is_number = isinstance(points[0], Lean | NumberPoint)
    set_values(draft, [p.value for p in points], all_numbers=is_number)
    assign_contexts(draft, _contexts(points))
    return draft


_NO_NUMBERS: npt.NDArray[np.float64] = np.empty(0)


def _keys(names: list[str]) -> tuple[list[str], npt.NDArray[np.int32]]:
    index = dict.fromkeys(names)
    metrics = list(index)
    if len(metrics) == 1:
        return metrics, np.zeros(len(names), np.int32)
    places = {name: at for at, name in enumerate(metrics)}
    return metrics, np.fromiter(map(places.__getitem__, names), np.int32, len(names))


def _contexts(points: Points) -> Sequence[ContextKey]:
    """What stands beside each value: the unit alone where no point has tags or metadata."""
    units: list[Any] = [p.unit for p in points]
    if isinstance(points[0], Lean):
        return units
    if isinstance(points[0], LoosePoint):
        units = [unit if unit is None or isinstance(unit, str) else NO_UNIT for unit in units]
    tags = [p.tags for p in points]
    metadata = [p.metadata for p in points]
    if not _is_given(tags) and not _is_given(metadata):
        return units
    texts = [map(bytes, c) if _is_given(c) else repeat(b"", len(units)) for c in (tags, metadata)]
    return list(zip(units, *texts, strict=True))


def _is_given(raws: list[msgspec.Raw]) -> bool:
    """Whether any point has the field; absent ones hold the one default object, so this compares
    identities."""
    return raws.count(wire.ABSENT) != len(raws)
