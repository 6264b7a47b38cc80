"""A chunk: the points of one series in one span, as the columns of its row; both ways, exactly.

Times are `start_us` plus the running sum of `ticks` times `tick_us`. Numbers are (`base` + the
running sum of `steps` + 256 × `carries`) divided by `scale` where that gives back every double bit
for bit, else the doubles themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.merge import EMPTY

DAY_US = 86_400_000_000
CHUNK_POINTS_MAX = 20_000
# Values and contexts of a chunk as JSON; a chunk that would hold more is cut between points.
CHUNK_JSON_BYTES_MAX = 1_000_000

Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_decode_values = msgspec.json.Decoder(list[Any]).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of the chunk table; arrays are as long as `points`, and never empty.

    ticks       int32    differences in units of `tick_us`, 0 first; None when all others are 1
    steps       int8     differences of the scaled numbers, less 256 × carries; None when `scale` is
    carries     int16    None when all are 0
    numbers     float64  NaN where the value is an object; None when scaled, or all are objects
    objects     JSON array, null where the value is a number; None without objects
    context_of  int16    1-based place in `contexts`, 0 for none; None when no point has a context
                         or all share the only one
    contexts    JSON array of the distinct contexts, as they came; None without
    is_whole    the chunk was merged from the pieces of a day
    """

    series_id: int
    start_us: int
    end_us: int
    points: int
    tick_us: int
    ticks: Int32s | None
    scale: int | None
    base: int | None
    steps: Int8s | None
    carries: Int16s | None
    numbers: Float64s | None
    objects: bytes | None
    context_of: Int16s | None
    contexts: bytes | None
    is_whole: bool = False


def times_of(chunk: Chunk) -> Int64s:
    """Times of the points, ascending."""
    if chunk.ticks is None:
        return chunk.start_us + chunk.tick_us * np.arange(chunk.points, dtype=np.int64)
    return chunk.start_us + chunk.tick_us * np.cumsum(chunk.ticks, dtype=np.int64)


def numbers_of(chunk: Chunk) -> Float64s:
    """Numbers of the points; NaN where the value is an object."""
    if chunk.scale is not None and chunk.steps is not None and chunk.base is not None:
        scaled = np.cumsum(chunk.steps, dtype=np.int64)
        if chunk.carries is not None:
            scaled += 256 * np.cumsum(chunk.carries, dtype=np.int64)
        return (chunk.base + scaled) / float(chunk.scale)
    if chunk.numbers is not None:
        return chunk.numbers
    return np.full(chunk.points, np.nan)


def decode(chunks: Sequence[Chunk]) -> Block:
    """The points of the chunks, one after the other; contexts that several share are kept once."""
    if not chunks:
        return EMPTY
    objects: dict[int, Any] = {}
    at = 0
    for chunk in chunks:
        if chunk.objects is not None:
            values = _decode_values(chunk.objects)
            objects.update((at + i, value) for i, value in enumerate(values) if value is not None)
        at += chunk.points
    contexts, context_of = _decode_contexts(chunks, at)
    lengths = [chunk.points for chunk in chunks]
    return Block(
        np.repeat(np.array([chunk.series_id for chunk in chunks], np.int32), lengths),
        np.concatenate([times_of(chunk) for chunk in chunks]),
        np.concatenate([numbers_of(chunk) for chunk in chunks]),
        context_of,
        contexts,
        objects,
    )


def _decode_contexts(chunks: Sequence[Chunk], n: int) -> tuple[list[bytes], Int32s | None]:
    if all(chunk.contexts is None for chunk in chunks):
        return [], None
    index_of: dict[bytes, int] = {}
    context_of = np.full(n, -1, np.int32)
    at = 0
    for chunk in chunks:
        if chunk.contexts is not None:
            own = [bytes(context) for context in _decode_raw(chunk.contexts)]
            # Place 0 means none.
            mapping = np.array(
                [-1, *(index_of.setdefault(c, len(index_of)) for c in own)], np.int32
            )
            places = 1 if chunk.context_of is None else chunk.context_of
            context_of[at : at + chunk.points] = mapping[places]
        at += chunk.points
    return list(index_of), context_of
