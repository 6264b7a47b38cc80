"""Decides which points of a draft may be stored, and why the others may not. No point is stored
here."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.kinds import Kind
from daemon.domain.points import UNDECODED, Draft, Refusal
from daemon.domain.times import INVALID_US

Bools = npt.NDArray[np.bool_]
Check = Callable[[Kind, Any], tuple[str, str] | None]
"""Why a value does not fit, as a Refusal's (code, detail); None when it does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the catalogue says of each key of a draft; one entry per key.

    series_ids    int32    0 where the series was refused
    kinds         uint8    Kind of the series
    low, high     float64  inclusive bounds
    retention_us  int64    how old a point may be
    checks        key -> check of an object or number against its definition; returns a Refusal's
        (code, detail) or None
    refused       key -> (code, detail) of keys that can't have a series
    retention_us_min  the shortest of them
    is_plain      every series takes any number: of numbers, only the time is left to judge
    """

    series_ids: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    retention_us: npt.NDArray[np.int64]
    checks: Mapping[int, Check] = field(default_factory=dict)
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)
    retention_us_min: int = field(init=False)
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        # Known once per set of series, so that nothing is asked of the arrays for every request.
        is_plain = (
            not self.refused
            and not self.checks
            and bool((self.kinds == Kind.NUMERIC).all())
            and bool(np.isneginf(self.low).all() and np.isposinf(self.high).all())
        )
        object.__setattr__(self, "is_plain", is_plain)
        object.__setattr__(self, "retention_us_min", int(self.retention_us.min()))


@dataclass(frozen=True, slots=True)
class Window:
    """The moment of judging, and the newest time a point may have then; microseconds."""

    now_us: int
    latest_us: int

    def covers(self, time_us: int, *, retention_us: int) -> bool:
        """Whether a point of this time may be stored."""
        return self.now_us - retention_us <= time_us <= self.latest_us


@dataclass(frozen=True, slots=True)
class Admission:
    """`block` holds the admitted points in arrival order (None when there are none); `total` counts
    all."""

    block: Block | None
    refusals: list[Refusal]
    total: int

    @property
    def admitted(self) -> int:
        return self.total - len(self.refusals)


def admit(draft: Draft, limits: Limits, window: Window) -> Admission:
    """Judge every point of the draft; refusals come in the order of the request."""
    if limits.is_plain and draft.kinds is None and _all_covered(draft, limits, window):
        return Admission(_block(draft, limits, draft.numbers, draft.objects), [], len(draft))
    refusals = list(draft.refusals)
    bad = _judge(draft, limits, refusals, now_us=window.now_us, latest_us=window.latest_us)
    n = len(draft)
    if bad is not None and bad.all():
        return Admission(None, sorted(refusals), n)
    numbers, objects = draft.numbers, draft.objects
    if draft.kinds is not None or not (limits.kinds == Kind.NUMERIC).all():
        numbers, objects = _stored_form(draft, limits)
    block = _block(draft, limits, numbers, objects)
    if bad is None:
        return Admission(block, refusals, n)
    return Admission(block.take(np.flatnonzero(~bad)), sorted(refusals), n)


def _all_covered(draft: Draft, limits: Limits, window: Window) -> bool:
    oldest_us = window.now_us - limits.retention_us_min
    times = draft.times_us
    return bool(times.max() <= window.latest_us and times.min() >= oldest_us)


def _block(
    draft: Draft,
    limits: Limits,
    numbers: npt.NDArray[np.float64],
    objects: dict[int, Any],
) -> Block:
    ids = limits.series_ids
    series_ids = ids[draft.key_of] if len(ids) > 1 else np.full(len(draft), ids[0], np.int32)
    return Block(series_ids, draft.times_us, numbers, draft.context_of, draft.contexts, objects)


def _judge(
    draft: Draft, limits: Limits, refusals: list[Refusal], *, now_us: int, latest_us: int
) -> Bools | None:
    """Mark refused points and append why; None when all are fine."""
    bad = np.zeros(len(draft), np.bool_)
    if draft.refusals:
        assert draft.kinds is not None
        bad |= draft.kinds == UNDECODED
    for row in _rows_of(limits.refused, draft, bad):
        refusals.append(Refusal(row, *limits.refused[int(draft.key_of[row])]))
        bad[row] = True
    times = draft.times_us
    if times.max() > latest_us or times.min() < now_us - limits.retention_us_min:
        _judge_times(draft, limits, refusals, bad, now_us=now_us, latest_us=latest_us)
    if not (np.isneginf(limits.low).all() and np.isposinf(limits.high).all()):
        _judge_bounds(draft, limits, refusals, bad)
    _judge_values(draft, limits.checks, _rows_of(limits.checks, draft, bad), refusals, bad)
    return bad if bad.any() else None


def _rows_of(keys: Collection[int], draft: Draft, bad: Bools) -> list[int]:
    """Rows of these keys that are not refused yet; one pass however many keys there are."""
    if not keys:
        return []
    is_asked = np.zeros(len(draft.metrics), np.bool_)
    is_asked[list(keys)] = True
    rows: list[int] = np.flatnonzero(is_asked[draft.key_of] & ~bad).tolist()
    return rows


def _refuse(bad: Bools, found: Bools, refusals: list[Refusal], why: tuple[str, str]) -> None:
    """Mark what is found and not refused yet."""
    found = found & ~bad
    refusals.extend(Refusal(row, *why) for row in np.flatnonzero(found).tolist())
    bad |= found


def _judge_times(
    draft: Draft,
    limits: Limits,
    refusals: list[Refusal],
    bad: Bools,
    *,
    now_us: int,
    latest_us: int,
) -> None:
    times = draft.times_us
    unreadable = (
        "bad_timestamp",
        "timestamp must be ISO 8601 with an offset, or epoch seconds or milliseconds",
    )
    _refuse(bad, times == INVALID_US, refusals, unreadable)
    late = ("in_future", "timestamp lies further in the future than the server tolerates")
    _refuse(bad, times > latest_us, refusals, late)
    old = ("too_old", "timestamp is older than the retention of the metric")
    _refuse(bad, times < now_us - limits.retention_us[draft.key_of], refusals, old)


def _judge_bounds(draft: Draft, limits: Limits, refusals: list[Refusal], bad: Bools) -> None:
    low, high = limits.low[draft.key_of], limits.high[draft.key_of]
    # Comparisons with NaN (objects) are false, so objects pass here.
    outside = (draft.numbers < low) | (draft.numbers > high)
    for row in np.flatnonzero(outside & ~bad).tolist():
        detail = f"value {draft.numbers[row]:g} is outside {low[row]:g} to {high[row]:g}"
        refusals.append(Refusal(row, "out_of_bounds", detail))
    bad |= outside


def _judge_values(
    draft: Draft,
    checks: Mapping[int, Check],
    rows: list[int],
    refusals: list[Refusal],
    bad: Bools,
) -> None:
    for row in rows:
        kind = Kind.NUMERIC if draft.kinds is None else Kind(int(draft.kinds[row]))
        why = checks[int(draft.key_of[row])](kind, value_at(draft, row, kind))
        if why is not None:
            refusals.append(Refusal(row, *why))
            bad[row] = True


def value_at(draft: Draft, row: int, kind: Kind) -> Any:
    """The value as the client wrote it."""
    if row in draft.objects:
        return draft.objects[row]
    number = float(draft.numbers[row])
    return bool(number) if kind is Kind.BOOLEAN else number


def _stored_form(draft: Draft, limits: Limits) -> tuple[npt.NDArray[np.float64], dict[int, Any]]:
    """Numbers and objects as the series keep them.

    Numbers stay numbers where the series reads them that way; a number in a boolean series and a
    boolean in any
    other become objects, which say their own type.
    """
    series_kinds = limits.kinds[draft.key_of]
    kinds = np.full(len(draft), Kind.NUMERIC, np.uint8) if draft.kinds is None else draft.kinds
    is_boolean = kinds == Kind.BOOLEAN
    misfit = is_boolean != (series_kinds == Kind.BOOLEAN)
    misfit &= (kinds == Kind.NUMERIC) | is_boolean
    if not misfit.any():
        return draft.numbers, draft.objects
    numbers, objects = draft.numbers.copy(), dict(draft.objects)
    for row in np.flatnonzero(misfit).tolist():
        number = float(numbers[row])
        objects[row] = bool(number) if is_boolean[row] else number
        numbers[row] = np.nan
    return numbers, objects


def check_value(
    expected: Kind, allowed_values: frozenset[Any] | None, kind: Kind, value: Any
) -> tuple[str, str] | None:
    """Why a value does not fit a definition of this kind and these allowed values; None when it
    does."""
    if not _fits(expected, kind, value):
        return "bad_value", f"the metric is defined as {expected.data_type}"
    if allowed_values is not None and (
        not isinstance(value, str | float | bool) or value not in allowed_values
    ):
        return "out_of_bounds", "value is not one of the allowed values of the metric"
    return None


def _fits(expected: Kind, kind: Kind, value: Any) -> bool:
    if expected is Kind.GEOLOCATION:
        return is_geolocation(value)
    if expected is Kind.BINARY:
        return isinstance(value, str) and is_base64(value)
    return kind is expected


def is_geolocation(value: Any) -> bool:
    """`{"lat": -90..90, "lon": -180..180, "alt"?, "accuracy"?}`, all numbers."""
    if not isinstance(value, dict) or not {"lat", "lon"} <= value.keys() <= _GEO_FIELDS:
        return False
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values()):
        return False
    return bool(-90 <= value["lat"] <= 90 and -180 <= value["lon"] <= 180)


_GEO_FIELDS = {"lat", "lon", "alt", "accuracy"}


def is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
