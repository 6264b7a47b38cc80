"""Columns of a block in few bytes and without a search: what the journal writes, sends and reads is
mostly their size.

Each column becomes a form, which says how to read it, and bytes. Nothing is lost: a form is taken
when it gives the column back bit by bit. Small integers go as 1, 2 or 4 bytes, little-endian, and
that type is part of a form:

["runs", type, n]       n values of that type, then n int32 of how often each stands
["plain", type]         the values themselves
["ticks", type, base, unit_us]   times: base + unit_us × value
["scaled", type, scale]          numbers: value / scale
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Form = list[Any]
Packed = tuple[Form, list[bytes]]
Array = npt.NDArray[Any]

RUN_POINTS_MIN = 8
"""Shorter runs on average are not worth it."""
UNITS_US = (1_000_000, 1_000, 1)
SCALES = (1, 10, 100, 1_000, 10_000)
SAMPLE_POINTS = 64
_INTEGERS = ("|u1", "<i2", "<u2", "<i4")
_RANGES = {name: (np.iinfo(name).min, np.iinfo(name).max) for name in _INTEGERS}
_LARGEST = float(2**31 - 1)


def pack_ids(ids: npt.NDArray[np.int32]) -> Packed:
    """Series ids or places of contexts, which mostly come in runs or are small."""
    firsts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    if (len(firsts) + 1) * RUN_POINTS_MIN > len(ids):
        return _as_plain(ids)
    starts = np.concatenate(([0], firsts))
    (_, name), parts = _as_plain(ids[starts])
    lengths = np.diff(starts, append=len(ids)).astype("<i4")
    return ["runs", name, len(starts)], [*parts, lengths.tobytes()]


def pack_times(times_us: npt.NDArray[np.int64]) -> Packed:
    """Times as multiples of a second, a millisecond or a microsecond after the first of them."""
    base = int(times_us[0])
    gaps = times_us - base
    for unit_us in UNITS_US:
        ticks = gaps // unit_us
        if unit_us == 1 or (ticks * unit_us == gaps).all():
            name = _smallest(ticks)
            if name is not None:
                return ["ticks", name, base, unit_us], [ticks.astype(name).tobytes()]
    return ["plain", "<i8"], [times_us.astype("<i8", copy=False).tobytes()]


def pack_numbers(numbers: npt.NDArray[np.float64]) -> Packed:
    """Numbers of few decimals as integers."""
    sample = numbers[:SAMPLE_POINTS]
    for scale in SCALES:
        # A scale that does for the first ones mostly does for all.
        if _scaled(sample, scale) is None:
            continue
        whole = _scaled(numbers, scale)
        name = None if whole is None else _smallest(whole)
        if whole is not None and name is not None:
            return ["scaled", name, scale], [whole.astype(name).tobytes()]
    return ["plain", "<f8"], [numbers.astype("<f8", copy=False).tobytes()]


def unpack(form: Form, body: bytes, at: int, n: int) -> tuple[Array, int]:
    """The column of n points that begins at `at`, and where its bytes end.

    Raises ValueError for a form that is none.
    """
    kind, name = form[0], np.dtype(form[1])
    count = form[2] if kind == "runs" else n
    values = np.frombuffer(body, name, count, at)
    at += values.nbytes
    match kind:
        case "runs":
            lengths = np.frombuffer(body, "<i4", count, at)
            return np.repeat(values, lengths), at + lengths.nbytes
        case "plain":
            return values, at
        case "ticks":
            return values.astype(np.int64) * form[3] + form[2], at
        case "scaled":
            return values.astype(np.float64) / form[2], at
    raise ValueError("not a block: unknown form of a column")


def _as_plain(ids: npt.NDArray[np.int32]) -> Packed:
    name = _smallest(ids)
    assert name is not None, "an int32 fits"
    return ["plain", name], [ids.astype(name).tobytes()]


def _smallest(integers: Array) -> str | None:
    """The smallest type that holds all of them."""
    low, high = integers.min(), integers.max()
    return next((name for name, (a, z) in _RANGES.items() if a <= low and high <= z), None)


def _scaled(numbers: npt.NDArray[np.float64], scale: int) -> npt.NDArray[np.float64] | None:
    """Whole numbers that divided by the scale give back the very bits; None when there are none."""
    with np.errstate(over="ignore"):
        whole = numbers * scale
    # Also false for a NaN and an infinity.
    if not max(whole.max(), -whole.min()) <= _LARGEST:
        return None
    # No integer is a negative zero, so that one has to be found to differ.
    whole = np.rint(whole) + 0.0
    if not np.array_equal((whole / scale).view(np.int64), numbers.view(np.int64)):
        return None
    return whole
