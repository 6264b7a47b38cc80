"""Column-shaped bodies into drafts: many points of few series, without an object per point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.domain.errors import Invalid
from daemon.domain.points import Draft
from daemon.domain.times import parse_epochs
from daemon.transport import wire
from daemon.transport.contexts import BadContext
from daemon.transport.values import NotExactError, place_of, refuse_rows, set_values
from daemon.transport.wire import Request, first_that_fits


def decode_columns(body: bytes) -> Request:
    """Column-shaped points. Raises as decode_batch, over wire.COLUMNS_POINTS_MAX, and Invalid for
    columns of unequal length."""
    try:
        return _columns(first_that_fits(body, (wire.number_columns, wire.any_columns)))
    except NotExactError:
        return _columns(first_that_fits(body, (wire.any_columns,)))


def _columns(columns: Any) -> Request:
    wire.check_batch_id(columns.batch_id)
    all_counts = [len(s.values) for s in columns.series]
    wire.check_count(sum(all_counts), wire.COLUMNS_POINTS_MAX, what="a columns body")
    _check_columns(columns.series, all_counts)
    series = [s for s in columns.series if s.values]
    counts = [count for count in all_counts if count]
    times: list[float] = []
    values: list[Any] = []
    for one in series:
        times += one.timestamps
        values += one.values
    draft = Draft(
        [s.device_id for s in series],
        [s.metric_name for s in series],
        np.repeat(np.arange(len(series), dtype=np.int32), counts),
        parse_epochs(times, counts),
        np.empty(0),
    )
    set_values(draft, values, all_numbers=isinstance(columns, wire.NumberColumns))
    _set_column_contexts(draft, series, counts)
    return Request([("", draft)], columns.batch_id, columns.compression, all_counts)


def _check_columns(series: Sequence[Any], counts: list[int]) -> None:
    errors = [
        {
            "pointer": f"/series/{at}",
            "code": "bad_body",
            "detail": "timestamps and values must be of one length",
        }
        for at, (one, count) in enumerate(zip(series, counts, strict=True))
        if len(one.timestamps) != count
    ]
    if errors:
        raise Invalid("timestamps and values must be of one length", code="bad_body", errors=errors)
    if not sum(counts):
        raise Invalid("there is no point in the body", code="empty")


def _set_column_contexts(draft: Draft, series: Sequence[Any], counts: list[int]) -> None:
    index: dict[bytes, int] = {}
    places = []
    at = 0
    for one, count in zip(series, counts, strict=True):
        try:
            places.append(place_of((one.unit, bytes(one.tags), b""), index))
        except BadContext as error:
            places.append(-1)
            refuse_rows(draft, range(at, at + count), str(error))
        at += count
    if index:
        draft.contexts = list(index)
        draft.context_of = np.repeat(np.array(places, np.int32), counts)
