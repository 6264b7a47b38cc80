"""Column-shaped bodies into drafts: many points of few series, without an object per point."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate, compress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.errors import Invalid
from daemon.domain.points import Draft
from daemon.domain.times import parse_epochs
from daemon.transport import wire
from daemon.transport.contexts import BadContext
from daemon.transport.numbers import read_floats, read_integers
from daemon.transport.values import (
    ContextKey,
    NotExactError,
    place_of,
    refuse_rows,
    set_numbers,
    set_values,
)
from daemon.transport.wire import Request, first_that_fits


def decode_columns(body: bytes) -> Request:
    """Column-shaped points. Raises as decode_batch, over wire.COLUMNS_POINTS_MAX, and Invalid for
    columns of unequal length."""
    try:
        return _text_columns(body) or _columns(
            first_that_fits(body, (wire.number_columns, wire.any_columns, wire.loose_columns))
        )
    except NotExactError:
        return _columns(first_that_fits(body, (wire.any_columns, wire.loose_columns)))


def _text_columns(body: bytes) -> Request | None:
    """Columns of integer stamps and numbers, which become arrays without an object per number;
    None for a body with anything else, or anything wrong."""
    try:
        columns = wire.raw_columns(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    series = columns.series
    values = read_floats([s.values for s in series]) if series else None
    if values is None or len(values.numbers) > wire.COLUMNS_POINTS_MAX:
        return None
    times_us = _times_us([s.timestamps for s in series], values.counts)
    if times_us is None:
        return None
    wire.check_batch_id(columns.batch_id)
    draft = _draft(series, values.counts, times_us)
    set_numbers(draft, values.numbers)
    _set_column_contexts(draft, series, values.counts)
    return Request([("", draft)], columns.batch_id, columns.compression, values.counts)


def _times_us(arrays: Sequence[msgspec.Raw], counts: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """Stamps of all columns; those that are the text of the column before are read once.

    The metrics of a device are sampled together, so most columns are. None when there are others
    than integers, or not as many as `counts`.
    """
    is_new = [True, *map(operator.ne, arrays[1:], arrays)]
    read = read_integers(list(compress(arrays, is_new)))
    of = [at - 1 for at in accumulate(is_new)]
    if read is None or [read.counts[at] for at in of] != counts:
        return None
    times_us = parse_epochs(read.numbers, read.counts)
    if all(is_new):
        return times_us
    if len(read.counts) == 1:
        return np.tile(times_us, len(arrays))
    ends = list(accumulate(read.counts))
    parts = [times_us[end - count : end] for end, count in zip(ends, read.counts, strict=True)]
    return np.concatenate([parts[at] for at in of])


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
    draft = _draft(series, counts, parse_epochs(times, counts))
    set_values(draft, values, all_numbers=isinstance(columns, wire.NumberColumns))
    _set_column_contexts(draft, series, counts)
    return Request([("", draft)], columns.batch_id, columns.compression, all_counts)


def _draft(series: Sequence[Any], counts: Sequence[int], times_us: npt.NDArray[np.int64]) -> Draft:
    """Keys and times of the series; values and contexts come after."""
    return Draft(
        [s.device_id for s in series],
        [s.metric_name for s in series],
        np.repeat(np.arange(len(series), dtype=np.int32), counts),
        times_us,
        np.empty(0),
    )


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


def _set_column_contexts(draft: Draft, series: Sequence[Any], counts: Sequence[int]) -> None:
    index: dict[bytes, int] = {}
    known: dict[ContextKey, int | str] = {}
    places = []
    ends = accumulate(counts)
    for one, count, end in zip(series, counts, ends, strict=True):
        key = (one.unit, bytes(one.tags), b"")
        place = known.get(key)
        if place is None:
            place = known[key] = _place_of(key, index)
        if isinstance(place, str):
            refuse_rows(draft, range(end - count, end), place)
            place = -1
        places.append(place)
    if index:
        draft.contexts = list(index)
        draft.context_of = np.repeat(np.array(places, np.int32), counts)


def _place_of(key: ContextKey, index: dict[bytes, int]) -> int | str:
    """The place of a context in the index; a text says why it is none."""
    try:
        return place_of(key, index)
    except BadContext as error:
        return str(error)
