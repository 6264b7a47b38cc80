"""Bodies of the ingest routes as typed values: shapes, sizes, and which shape a body fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from daemon.domain.errors import Invalid, Malformed, TooLarge
from daemon.domain.points import Draft

BATCH_POINTS_MAX = 1_000
BULK_POINTS_MAX = 10_000
COLUMNS_POINTS_MAX = 100_000
BATCH_ID_CHARACTERS_MAX = 128
LENIENT_BYTES_MAX = 4 * 2**20
ABSENT = msgspec.Raw()


class Lean(msgspec.Struct, gc=False):
    """Marks points that have nothing but a unit beside their number."""


class LeanPoint(Lean, gc=False, forbid_unknown_fields=True):
    """A number with an ISO stamp and nothing but a unit beside: what nearly every point is."""

    timestamp: str
    metric_name: str
    value: float
    unit: str | None = None


@lru_cache(maxsize=512)
def lean_batch_of(metrics: tuple[str, ...], units: tuple[str, ...]) -> Callable[[bytes], Any]:
    """The decoder of batches of LeanPoint whose names and units are all among these.

    It gives one text per name instead of a new one per point, which is a third of the memory.
    """
    point = msgspec.defstruct(
        "KnownPoint",
        [
            ("timestamp", str),
            ("metric_name", Literal[metrics]),
            ("value", float),
            ("unit", Literal[units] | None, None),
        ],
        bases=(Lean,),
        gc=False,
        forbid_unknown_fields=True,
    )
    batch = msgspec.defstruct(
        "KnownBatch",
        [
            ("data_points", list[point]),  # type: ignore[valid-type]
            ("batch_id", str | None, None),
            ("compression", str | None, None),
        ],
    )
    return msgspec.json.Decoder(batch).decode


class NumberPoint(msgspec.Struct, gc=False):
    """A point whose value is a number."""

    timestamp: str | int | float
    metric_name: str
    value: float
    unit: str | None = None
    tags: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT


class AnyPoint(msgspec.Struct, gc=False):
    """A point with a value of any kind."""

    timestamp: str | int | float
    metric_name: str
    value: Any
    unit: str | None = None
    tags: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT


class LoosePoint(msgspec.Struct):
    """A point of which nothing is known; every field is looked at by itself."""

    timestamp: Any = None
    metric_name: Any = None
    value: Any = msgspec.UNSET
    unit: Any = None
    tags: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT


class LeanBatch(msgspec.Struct):
    data_points: list[LeanPoint]
    batch_id: str | None = None
    compression: str | None = None


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
    tags: msgspec.Raw = ABSENT


class AnyColumn(msgspec.Struct, gc=False):
    device_id: str
    metric_name: str
    timestamps: list[int | float]
    values: list[Any]
    unit: str | None = None
    tags: msgspec.Raw = ABSENT


class RawColumn(msgspec.Struct, gc=False):
    """A column whose numbers are still text."""

    device_id: str
    metric_name: str
    timestamps: msgspec.Raw
    values: msgspec.Raw
    unit: str | None = None
    tags: msgspec.Raw = ABSENT


class RawColumns(msgspec.Struct):
    series: list[RawColumn]
    batch_id: str | None = None
    compression: str | None = None


class NumberColumns(msgspec.Struct):
    series: list[NumberColumn]
    batch_id: str | None = None
    compression: str | None = None


class AnyColumns(msgspec.Struct):
    series: list[AnyColumn]
    batch_id: str | None = None
    compression: str | None = None


number_point = msgspec.json.Decoder(NumberPoint).decode
any_point = msgspec.json.Decoder(AnyPoint).decode
lean_batch = msgspec.json.Decoder(LeanBatch).decode
number_batch = msgspec.json.Decoder(NumberBatch).decode
any_batch = msgspec.json.Decoder(AnyBatch).decode
raw_batch = msgspec.json.Decoder(RawBatch).decode
lean_bulk = msgspec.json.Decoder(dict[str, list[LeanPoint]]).decode
number_bulk = msgspec.json.Decoder(dict[str, list[NumberPoint]]).decode
any_bulk = msgspec.json.Decoder(dict[str, list[AnyPoint]]).decode
raw_bulk = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode
raw_columns = msgspec.json.Decoder(RawColumns).decode
number_columns = msgspec.json.Decoder(NumberColumns).decode
any_columns = msgspec.json.Decoder(AnyColumns).decode


def _with_any_number(shape: Any) -> Callable[[bytes], Any]:
    """A decoder to which 1e400 is an infinity, which is refused where values are looked at: JSON
    has numbers that no double holds (RFC 8259, section 6), and others refuse the whole body for
    one. It is slow, so it takes up to LENIENT_BYTES_MAX and only what others refused."""
    strict = msgspec.json.Decoder(shape).decode
    lenient = msgspec.json.Decoder(shape, float_hook=float).decode

    def decode(body: bytes) -> Any:
        try:
            return strict(body)
        except msgspec.ValidationError:
            if len(body) > LENIENT_BYTES_MAX:
                raise
        return lenient(body)

    return decode


loose_point = _with_any_number(LoosePoint)
loose_columns = _with_any_number(AnyColumns)
_anything = _with_any_number(Any)


class Request(msgspec.Struct):
    """A decoded body: one draft per device of a bulk, one otherwise; `counts` are points per series
    of columns."""

    drafts: list[tuple[str, Draft]]
    batch_id: str | None = None
    compression: str | None = None
    counts: list[int] | None = None


def first_that_fits(body: bytes, decoders: Sequence[Any]) -> Any:
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
        _anything(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed("the body is not readable JSON") from error
    raise Invalid(
        f"the body does not fit: {why}",
        code="bad_body",
        errors=[{"pointer": "", "code": "bad_body", "detail": str(why)}],
    ) from why


def check_count(count: int, most: int, *, what: str) -> None:
    if count > most:
        raise TooLarge(f"{what} holds at most {most:,} points; this one has {count:,}")


def check_batch_id(batch_id: str | None) -> None:
    if batch_id is None:
        return
    if not 1 <= len(batch_id) <= BATCH_ID_CHARACTERS_MAX or "\0" in batch_id:
        raise Invalid(f"batch_id is 1 to {BATCH_ID_CHARACTERS_MAX} characters", code="bad_batch_id")
