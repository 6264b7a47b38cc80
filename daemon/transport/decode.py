"""Bodies of the ingest routes into drafts. Well-formed bodies are read by typed decoders, column by
column; a body that
does not fit is read again point by point, so that one broken point fails itself only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.errors import Invalid, Malformed, TooLarge
from daemon.domain.kinds import Kind
from daemon.domain.points import UNDECODED, Draft, Refusal
from daemon.domain.times import parse_epochs, parse_times
from daemon.transport.contexts import BadContext, context_of, is_storable

BATCH_POINTS_MAX = 1_000
BULK_POINTS_MAX = 10_000
COLUMNS_POINTS_MAX = 100_000
BATCH_ID_CHARACTERS_MAX = 128
VALUE_BYTES_MAX = 65_536
EXACT_INTEGER_MAX = 2**53
_EMPTY = msgspec.Raw()


class NumberPoint(msgspec.Struct, gc=False):
    """A point whose value is a number: what nearly every point is."""

    timestamp: str | int | float
    metric_name: str
    value: float
    unit: str | None = None
    tags: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY


class AnyPoint(msgspec.Struct, gc=False):
    """A point with a value of any kind."""

    timestamp: str | int | float
    metric_name: str
    value: Any
    unit: str | None = None
    tags: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY


class LoosePoint(msgspec.Struct):
    """A point of which nothing is known; every field is looked at by itself."""

    timestamp: Any = None
    metric_name: Any = None
    value: Any = msgspec.UNSET
    unit: Any = None
    tags: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY


class NumberBatch(msgspec.Struct):
    data_points: list[NumberPoint]
    batch_id: str | None = None
    compression: str | None = None


class AnyBatch(msgspec.Struct):
    data_points: list[AnyPoint]
    batch_id: str | None = None
    compression: str | None = None


class RawBatch(msgspec.Struct):
    data_points: list[msgspec.Raw]
    batch_id: str | None = None
    compression: str | None = None


class NumberColumn(msgspec.Struct, gc=False):
    device_id: str
    metric_name: str
    timestamps: list[int]
    values: list[float]
    unit: str | None = None
    tags: msgspec.Raw = _EMPTY


class AnyColumn(msgspec.Struct, gc=False):
    device_id: str
    metric_name: str
    timestamps: list[int | float]
    values: list[Any]
    unit: str | None = None
    tags: msgspec.Raw = _EMPTY


class NumberColumns(msgspec.Struct):
    series: list[NumberColumn]
    batch_id: str | None = None
    compression: str | None = None


class AnyColumns(msgspec.Struct):
    series: list[AnyColumn]
    batch_id: str | None = None
    compression: str | None = None


_number_point = msgspec.json.Decoder(NumberPoint).decode
_any_point = msgspec.json.Decoder(AnyPoint).decode
_loose_point = msgspec.json.Decoder(LoosePoint).decode
_number_batch = msgspec.json.Decoder(NumberBatch).decode
_any_batch = msgspec.json.Decoder(AnyBatch).decode
_raw_batch = msgspec.json.Decoder(RawBatch).decode
_number_bulk = msgspec.json.Decoder(dict[str, list[NumberPoint]]).decode
_any_bulk = msgspec.json.Decoder(dict[str, list[AnyPoint]]).decode
_raw_bulk = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode
_number_columns = msgspec.json.Decoder(NumberColumns).decode
_any_columns = msgspec.json.Decoder(AnyColumns).decode


class _NotExactError(Exception):
    """A number is so large that it may have been an integer that lost digits: decode again, telling
    them apart."""


Points = list[NumberPoint] | list[AnyPoint] | list[LoosePoint]


class Request(msgspec.Struct):
    """A decoded body: one draft per device of a bulk, one otherwise; `counts` are points per series
    of columns."""

    drafts: list[tuple[str, Draft]]
    batch_id: str | None = None
    compression: str | None = None
    counts: list[int] | None = None


def decode_point(body: bytes, device_id: str) -> Draft:
    """A single point. Raises Malformed when the body is no JSON object."""
    try:
        return _draft(
            device_id, [_first_that_fits(body, (_number_point, _any_point, _loose_point))]
        )
    except _NotExactError:
        return _draft(device_id, [_first_that_fits(body, (_any_point, _loose_point))])


def decode_batch(body: bytes, device_id: str) -> Request:
    """A batch. Raises Malformed, Invalid when there are no data_points, TooLarge over
    BATCH_POINTS_MAX."""
    try:
        return _batch(_first_that_fits(body, (_number_batch, _any_batch, _raw_batch)), device_id)
    except _NotExactError:
        return _batch(_first_that_fits(body, (_any_batch, _raw_batch)), device_id)


def _batch(batch: Any, device_id: str) -> Request:
    points = _loosened(batch.data_points) if isinstance(batch, RawBatch) else batch.data_points
    _check_count(len(points), BATCH_POINTS_MAX, what="a batch")
    if not points:
        raise Invalid("data_points is empty", code="empty")
    _check_batch_id(batch.batch_id)
    draft = _draft(device_id, points)
    return Request([(device_id, draft)], batch.batch_id, batch.compression)


def decode_bulk(body: bytes) -> Request:
    """Points of several devices. Raises as decode_batch, over BULK_POINTS_MAX."""
    try:
        return _bulk(_first_that_fits(body, (_number_bulk, _any_bulk, _raw_bulk)))
    except _NotExactError:
        return _bulk(_first_that_fits(body, (_any_bulk, _raw_bulk)))


def _bulk(bulk: dict[str, Any]) -> Request:
    _check_count(sum(map(len, bulk.values())), BULK_POINTS_MAX, what="a bulk")
    if not any(bulk.values()):
        raise Invalid("there is no point in the body", code="empty")
    drafts = []
    for device_id, points in bulk.items():
        if points:
            if isinstance(points[0], msgspec.Raw):
                points = _loosened(points)
            drafts.append((device_id, _draft(device_id, points)))
    return Request(drafts)


def _first_that_fits(body: bytes, decoders: Sequence[Any]) -> Any:
    """The result of the first decoder whose types fit. Raises Malformed for no JSON, Invalid when
    none fits."""
    why: Exception | None = None
    for decode in decoders:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            why = error
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Malformed(f"the body is not readable JSON: {error}") from error
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("the body is not readable JSON") from error
    raise Invalid(
        f"the body does not fit: {why}",
        code="bad_body",
        errors=[{"pointer": "", "code": "bad_body", "detail": str(why)}],
    ) from why


def _check_count(count: int, most: int, *, what: str) -> None:
    if count > most:
        raise TooLarge(f"{what} holds at most {most:,} points; this one has {count:,}")


def _check_batch_id(batch_id: str | None) -> None:
    if batch_id is None:
        return
    if not 1 <= len(batch_id) <= BATCH_ID_CHARACTERS_MAX or "\0" in batch_id:
        raise Invalid(f"batch_id is 1 to {BATCH_ID_CHARACTERS_MAX} characters", code="bad_batch_id")


def _loosened(raws: Sequence[msgspec.Raw]) -> list[LoosePoint]:
    """Points one by one; what is no object becomes a point without anything."""
    points = []
    for raw in raws:
        try:
            points.append(_loose_point(raw))
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
    _set_values(draft, [p.value for p in points], all_numbers=isinstance(points[0], NumberPoint))
    _set_contexts(draft, points)
    return draft


_NO_NUMBERS: npt.NDArray[np.float64] = np.empty(0)


def _keys(names: list[str]) -> tuple[list[str], npt.NDArray[np.int32]]:
    index = dict.fromkeys(names)
    metrics = list(index)
    if len(metrics) == 1:
        return metrics, np.zeros(len(names), np.int32)
    places = {name: at for at, name in enumerate(metrics)}
    return metrics, np.fromiter(map(places.__getitem__, names), np.int32, len(names))


def _set_values(draft: Draft, values: list[Any], *, all_numbers: bool) -> None:
    """Fill numbers, kinds and objects; refuse values that can't be stored."""
    if all_numbers:
        draft.numbers = np.array(values, np.float64)
        if np.abs(draft.numbers).max() >= EXACT_INTEGER_MAX:
            raise _NotExactError
        return
    numbers = np.full(len(values), np.nan)
    kinds = np.zeros(len(values), np.uint8)
    refused = {r.row for r in draft.refusals}
    for row, value in enumerate(values):
        if row in refused:
            continue
        kind, number, why = _classify(value)
        if why is not None:
            draft.refusals.append(Refusal(row, *why))
            continue
        kinds[row] = kind
        if number is None:
            draft.objects[row] = value
        else:
            numbers[row] = number
    draft.numbers = numbers
    draft.kinds = None if (kinds == Kind.NUMERIC).all() else kinds


def _classify(value: Any) -> tuple[int, float | None, tuple[str, str] | None]:
    """(kind, number, why refused): the number is None for objects."""
    if isinstance(value, bool):
        return Kind.BOOLEAN, float(value), None
    if isinstance(value, float):
        return Kind.NUMERIC, value, None
    if isinstance(value, int):
        if abs(value) > EXACT_INTEGER_MAX:
            return UNDECODED, None, ("bad_value", "an integer lies between -2^53 and 2^53")
        return Kind.NUMERIC, float(value), None
    if isinstance(value, str):
        return _classify_text(value)
    if isinstance(value, dict | list):
        return _classify_object(value)
    if value is msgspec.UNSET:
        return (
            UNDECODED,
            None,
            ("bad_value", "a point is an object with timestamp, metric_name and value"),
        )
    return (
        UNDECODED,
        None,
        ("unknown_type", "value must be a number, string, boolean, object or array"),
    )


def _classify_text(value: str) -> tuple[int, float | None, tuple[str, str] | None]:
    if len(value) > VALUE_BYTES_MAX or len(value.encode()) > VALUE_BYTES_MAX:
        return UNDECODED, None, ("too_large", f"value is larger than {VALUE_BYTES_MAX} bytes")
    if "\0" in value:
        return UNDECODED, None, ("bad_value", "value holds a NUL character")
    return Kind.STRING, None, None


def _classify_object(value: Any) -> tuple[int, float | None, tuple[str, str] | None]:
    if not is_storable(value):
        return UNDECODED, None, ("bad_value", "value holds a NUL character or is nested too deeply")
    if len(msgspec.json.encode(value)) > VALUE_BYTES_MAX:
        return UNDECODED, None, ("too_large", f"value is larger than {VALUE_BYTES_MAX} bytes")
    return Kind.JSON, None, None


def _set_contexts(draft: Draft, points: Points) -> None:
    units: list[Any] = [p.unit for p in points]
    try:
        distinct = set(units)
    except TypeError:
        distinct = {None, ""}
    tags, metadata = [p.tags for p in points], [p.metadata for p in points]
    if len(distinct) == 1 and not _is_given(tags) and not _is_given(metadata):
        if distinct != {None}:
            _assign_contexts(draft, [(units[0], b"", b"")])
        return
    texts = [map(bytes, c) if _is_given(c) else repeat(b"", len(units)) for c in (tags, metadata)]
    keys: list[Any] = list(zip(units, *texts, strict=True))
    is_one = keys.count(keys[0]) == len(keys)
    _assign_contexts(draft, keys[:1] if is_one else keys)


def _is_given(raws: list[msgspec.Raw]) -> bool:
    """Whether any point has the field; absent ones hold the one default object, so this compares
    identities."""
    return raws.count(_EMPTY) != len(raws)


def _assign_contexts(draft: Draft, keys: list[Any]) -> None:
    """Give each row the context of its key; one key alone is that of all rows."""
    index: dict[bytes, int] = {}
    known: dict[Any, int] = {}
    places = []
    for row, key in enumerate(keys):
        try:
            place = known.get(key)
            if place is None:
                place = known[key] = _place(key, index)
        except (BadContext, TypeError) as error:
            why = str(error) if isinstance(error, BadContext) else "unit must be a string"
            rows = range(len(draft)) if len(keys) == 1 else [row]
            _refuse_rows(draft, rows, why)
            place = -1
        places.append(place)
    if not index:
        return
    draft.contexts = list(index)
    draft.context_of = (
        np.full(len(draft), places[0], np.int32) if len(keys) == 1 else np.array(places, np.int32)
    )


def _place(key: Any, index: dict[bytes, int]) -> int:
    if key[0] is not None and not isinstance(key[0], str):
        raise BadContext("unit must be a string")
    context = context_of(key)
    return -1 if context is None else index.setdefault(context, len(index))


def _refuse_rows(draft: Draft, rows: Sequence[int], why: str) -> None:
    if draft.kinds is None:
        draft.kinds = np.full(len(draft), Kind.NUMERIC, np.uint8)
    for row in rows:
        if draft.kinds[row] != UNDECODED:
            draft.refusals.append(Refusal(row, "bad_value", why))
            draft.kinds[row] = UNDECODED
            draft.objects.pop(row, None)


def decode_columns(body: bytes) -> Request:
    """Column-shaped points. Raises as decode_batch, over COLUMNS_POINTS_MAX, and Invalid for
    columns of unequal length."""
    try:
        return _columns(_first_that_fits(body, (_number_columns, _any_columns)))
    except _NotExactError:
        return _columns(_first_that_fits(body, (_any_columns,)))


def _columns(columns: Any) -> Request:
    _check_batch_id(columns.batch_id)
    series = columns.series
    counts = [len(s.values) for s in series]
    _check_count(sum(counts), COLUMNS_POINTS_MAX, what="a columns body")
    _check_columns(series, counts)
    times = [parse_epochs(s.timestamps) for s in series]
    draft = Draft(
        [s.device_id for s in series],
        [s.metric_name for s in series],
        np.repeat(np.arange(len(series), dtype=np.int32), counts),
        np.concatenate(times),
        _NO_NUMBERS,
    )
    values: list[Any] = []
    for one in series:
        values += one.values
    _set_values(draft, values, all_numbers=isinstance(columns, NumberColumns))
    _set_column_contexts(draft, series, counts)
    return Request([("", draft)], columns.batch_id, columns.compression, counts)


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
            places.append(_place((one.unit, bytes(one.tags), b""), index))
        except BadContext as error:
            places.append(-1)
            _refuse_rows(draft, range(at, at + count), str(error))
        at += count
    if index:
        draft.contexts = list(index)
        draft.context_of = np.repeat(np.array(places, np.int32), counts)
