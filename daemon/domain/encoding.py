"""Cuts sorted points into chunks and encodes them; all series at once, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.chunk import (
    CHUNK_JSON_BYTES_MAX,
    CHUNK_POINTS_MAX,
    DAY_US,
    Chunk,
    Float64s,
    Int16s,
    Int32s,
    Int64s,
)

Rows = npt.NDArray[np.intp]

SCALES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
# Integers up to here are exact as doubles.
_EXACT_MAX = 2.0**53
_INT4_MAX = 2**31 - 1
# What an int8 step and an int16 carry can say together.
_STEP_MAX = 256 * (2**15 - 1)
_encode_json = msgspec.json.encode


def encode(block: Block, *, breaks: Rows | None = None, is_whole: bool = False) -> list[Chunk]:
    """The chunks of points that are sorted by series, then time, each key once.

    A chunk holds one series, lies in one UTC day and within the bounds of domain/chunk.
    `breaks` are rows at which a new chunk must begin besides; `is_whole` marks the chunks.
    """
    if not len(block):
        return []
    json = {at: _encode_json(value) for at, value in block.objects.items()}
    starts = _cut(block, json, breaks)
    times = _Times.of(block.times_us, starts)
    scaled = _Scaled.of(block.numbers, times.starts)
    return _assemble(block, json, times, scaled, is_whole)


def _cut(block: Block, json: dict[int, bytes], breaks: Rows | None) -> Rows:
    """First rows of the chunks, as series, days, `breaks` and the bounds ask for."""
    n = len(block)
    is_start = np.zeros(n, np.bool_)
    is_start[0] = True
    days = block.times_us // DAY_US
    is_start[1:] = (block.series_ids[1:] != block.series_ids[:-1]) | (days[1:] != days[:-1])
    if breaks is not None:
        is_start[breaks] = True
    if json or block.context_of is not None:
        is_start[_json_cuts(block, json, np.flatnonzero(is_start))] = True
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=n)
    for at in np.flatnonzero(lengths > CHUNK_POINTS_MAX).tolist():
        parts = -(-int(lengths[at]) // CHUNK_POINTS_MAX)
        is_start[starts[at] + np.arange(parts) * int(lengths[at]) // parts] = True
    return np.flatnonzero(is_start)


def _json_cuts(block: Block, json: dict[int, bytes], starts: Rows) -> list[int]:
    """Rows at which the JSON of a chunk would pass its bound."""
    n = len(block)
    sizes = np.zeros(n, np.int64)
    for at, text in json.items():
        sizes[at] = len(text) + 1
    if block.context_of is not None:
        run_of = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
        lengths = np.array([len(context) + 1 for context in block.contexts] + [0])
        _, first = np.unique(run_of * len(lengths) + block.context_of, return_index=True)
        sizes[first] += lengths[block.context_of[first]]
    total = np.concatenate(([0], np.cumsum(sizes)))
    ends = np.append(starts[1:], n)
    cuts = []
    for at in np.flatnonzero(total[ends] - total[starts] > CHUNK_JSON_BYTES_MAX).tolist():
        row, end = int(starts[at]), int(ends[at])
        while total[end] - total[row] > CHUNK_JSON_BYTES_MAX:
            bound = int(np.searchsorted(total, total[row] + CHUNK_JSON_BYTES_MAX, "right")) - 1
            row = max(bound, row + 1)
            if row >= end:
                break
            cuts.append(row)
    return cuts


@dataclass(frozen=True, slots=True)
class _Times:
    """Ticks of every point; per chunk its first row, its tick and whether all its ticks are 1."""

    starts: Rows
    ticks: Int32s
    tick_us: Int64s
    is_regular: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, times_us: Int64s, starts: Rows) -> _Times:
        ticks, tick_us = _ticks(times_us, starts)
        wide = np.flatnonzero(ticks > _INT4_MAX)
        if len(wide):
            # A difference that does not fit begins a chunk; the tick of a part only gets larger.
            starts = np.union1d(starts, wide)
            ticks, tick_us = _ticks(times_us, starts)
        is_one = ticks == 1
        is_one[starts] = True
        return cls(starts, ticks.astype(np.int32), tick_us, np.logical_and.reduceat(is_one, starts))


def _ticks(times_us: Int64s, starts: Rows) -> tuple[Int64s, Int64s]:
    gaps = np.diff(times_us, prepend=times_us[0])
    gaps[starts] = 0
    tick_us = np.maximum(np.gcd.reduceat(gaps, starts), 1)
    return gaps // np.repeat(tick_us, np.diff(starts, append=len(gaps))), tick_us


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Per chunk a scale (0: none fits) and base; steps of the points of chunks with a scale."""

    scales: Int32s
    bases: Int64s
    steps: Int32s

    @classmethod
    def of(cls, numbers: Float64s, starts: Rows) -> _Scaled:
        n, k = len(numbers), len(starts)
        found = cls(np.zeros(k, np.int32), np.zeros(k, np.int64), np.zeros(n, np.int32))
        ends = np.append(starts[1:], n)
        left = np.flatnonzero(~np.logical_or.reduceat(np.isnan(numbers), starts))
        for scale in SCALES:
            if not len(left):
                break
            left = found._try(numbers, left, starts, ends, scale)
        return found

    def _try(self, numbers: Float64s, left: Rows, starts: Rows, ends: Rows, scale: int) -> Rows:
        """Use the scale for those chunks of `left` that it gives back exactly; returns the rest."""
        lengths = ends[left] - starts[left]
        firsts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        rows = np.repeat(starts[left] - firsts, lengths) + np.arange(int(lengths.sum()))
        own = numbers[rows]
        with np.errstate(over="ignore"):
            rounded = np.rint(own * float(scale))
        rounded[np.abs(rounded) > _EXACT_MAX] = 0
        integers = rounded.astype(np.int64)
        # Compared as bits: -0.0 is another double than 0.0.
        is_exact = (integers / float(scale)).view(np.int64) == own.view(np.int64)
        steps = np.diff(integers, prepend=0)
        steps[firsts] = 0
        fits = np.logical_and.reduceat(is_exact & (np.abs(steps) <= _STEP_MAX), firsts)
        taken = left[fits]
        self.scales[taken] = scale
        self.bases[taken] = integers[firsts[fits]]
        is_taken = np.repeat(fits, lengths)
        self.steps[rows[is_taken]] = steps[is_taken]
        # Exact with steps too large: a larger scale makes them larger still.
        return left[~fits & ~np.logical_and.reduceat(is_exact, firsts)]


def _assemble(
    block: Block, json: dict[int, bytes], times: _Times, scaled: _Scaled, is_whole: bool
) -> list[Chunk]:
    n, starts = len(block), times.starts
    ends = np.append(starts[1:], n)
    has_object = np.logical_or.reduceat(np.isnan(block.numbers), starts).tolist()
    scales, bases = scaled.scales.tolist(), scaled.bases.tolist()
    is_regular, tick_us = times.is_regular.tolist(), times.tick_us.tolist()
    ids = block.series_ids[starts].tolist()
    starts_us, ends_us = block.times_us[starts].tolist(), block.times_us[ends - 1].tolist()
    # A cast to int8 keeps the low byte with its sign; the rest is a multiple of 256.
    low = scaled.steps.astype(np.int8)
    carries = ((scaled.steps - low) >> 8).astype(np.int16)
    has_carry = np.logical_or.reduceat(carries != 0, starts).tolist()
    chunks = []
    for at, (a, b) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        scale = scales[at] or None
        objects = _objects(json, a, b) if has_object[at] else None
        context_of, contexts = _contexts(block, a, b)
        numbers = block.numbers[a:b]
        if scale is not None or (objects is not None and np.isnan(numbers).all()):
            plain = None
        else:
            plain = numbers
        chunks.append(
            Chunk(
                series_id=ids[at],
                start_us=starts_us[at],
                end_us=ends_us[at],
                points=b - a,
                tick_us=tick_us[at],
                ticks=None if is_regular[at] else times.ticks[a:b],
                scale=scale,
                base=None if scale is None else bases[at],
                steps=None if scale is None else low[a:b],
                carries=carries[a:b] if has_carry[at] else None,
                numbers=plain,
                objects=objects,
                context_of=context_of,
                contexts=contexts,
                is_whole=is_whole,
            )
        )
    return chunks


def _objects(json: dict[int, bytes], a: int, b: int) -> bytes:
    return b"[" + b",".join([json.get(at, b"null") for at in range(a, b)]) + b"]"


def _contexts(block: Block, a: int, b: int) -> tuple[Int16s | None, bytes | None]:
    if block.context_of is None:
        return None, None
    own = block.context_of[a:b]
    if (own == own[0]).all():
        if own[0] < 0:
            return None, None
        return None, b"[" + block.contexts[int(own[0])] + b"]"
    distinct, places = np.unique(own, return_inverse=True)
    has_none = distinct[0] < 0
    contexts = [block.contexts[at] for at in distinct.tolist() if at >= 0]
    # Place 0 is for none, so without such a point the first context is still 1.
    context_of = (places + (0 if has_none else 1)).astype(np.int16)
    return context_of, b"[" + b",".join(contexts) + b"]"
