"""A block of points, the unit that is committed, and its bytes in the journal.

The bytes, little-endian: 4 of magic `TLB1`, uint32 n, uint32 length of the tail; then series_ids
(n × int32), times_us (n × int64), numbers (n × float64) and context_of (n × int32, absent when the
tail says so); then the tail, MessagePack of
[has_context_of, contexts, object_indexes, object_values].

A block of COMPACT_POINTS_MIN or more has `TLB2` instead, and its columns as domain/compact writes
them, in the same order; its tail is [forms, contexts, object_indexes, object_values].
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain import compact

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

MAGIC = b"TLB1"
COMPACT_MAGIC = b"TLB2"
COMPACT_POINTS_MIN = 256
"""Below it the work costs more than the bytes."""
_HEAD = struct.Struct("<4sII")
_pack_tail = msgspec.msgpack.Encoder().encode
_unpack_tail = msgspec.msgpack.Decoder(tuple[bool, list[bytes], list[int], list[Any]]).decode
_unpack_compact_tail = msgspec.msgpack.Decoder(
    tuple[list[list[Any]], list[bytes], list[int], list[Any]]
).decode


@dataclass(frozen=True, slots=True)
class Block:
    """Points in arrival order, one array per column, all of length n >= 1.

    series_ids  int32    (n,)  ids from the series table
    times_us    int64    (n,)  event time, microseconds since 1970-01-01T00:00Z, not sorted
    numbers     float64  (n,)  numeric and boolean values (0.0, 1.0); NaN where the value is an
        object
    context_of  int32    (n,)  index into `contexts`, -1 for none; None when no point has a context
    contexts    distinct canonical JSON texts of {"unit"?, "tags"?, "metadata"?}
    objects     index -> value that is not a number of the series' kind (str, bool, dict, list,
        float)
    """

    series_ids: Int32s
    times_us: Int64s
    numbers: Float64s
    context_of: Int32s | None = None
    contexts: list[bytes] = field(default_factory=list)
    objects: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series_ids)

    def take(self, rows: npt.NDArray[np.intp]) -> Block:
        """The block of these rows, in their order; contexts stay whole."""
        objects: dict[int, Any] = {}
        if self.objects:
            own = self.objects
            objects = {at: own[row] for at, row in enumerate(rows.tolist()) if row in own}
        return Block(
            self.series_ids[rows],
            self.times_us[rows],
            self.numbers[rows],
            None if self.context_of is None else self.context_of[rows],
            self.contexts,
            objects,
        )


def pack(block: Block) -> bytes:
    """The bytes of a block as they stand in `journal.body`."""
    if len(block) >= COMPACT_POINTS_MIN:
        return _pack_compact(block)
    has_context_of = block.context_of is not None
    tail = _pack_tail(
        (has_context_of, block.contexts, list(block.objects.keys()), list(block.objects.values()))
    )
    parts = [
        _HEAD.pack(MAGIC, len(block), len(tail)),
        block.series_ids.astype("<i4", copy=False).tobytes(),
        block.times_us.astype("<i8", copy=False).tobytes(),
        block.numbers.astype("<f8", copy=False).tobytes(),
    ]
    if block.context_of is not None:
        parts.append(block.context_of.astype("<i4", copy=False).tobytes())
    parts.append(tail)
    return b"".join(parts)


def unpack(body: bytes) -> Block:
    """The block of a journal body; raises ValueError when the bytes are not a block."""
    magic, n, tail_length = _HEAD.unpack_from(body)
    if magic == COMPACT_MAGIC:
        return _unpack_compact(body, n, tail_length)
    if magic != MAGIC:
        raise ValueError("not a block: wrong magic")
    has_context_of, contexts, indexes, values = _unpack_tail(body[len(body) - tail_length :])
    at = _HEAD.size
    series_ids = np.frombuffer(body, "<i4", n, at)
    times_us = np.frombuffer(body, "<i8", n, at + 4 * n)
    numbers = np.frombuffer(body, "<f8", n, at + 12 * n)
    context_of = np.frombuffer(body, "<i4", n, at + 20 * n) if has_context_of else None
    return Block(
        series_ids, times_us, numbers, context_of, contexts, dict(zip(indexes, values, strict=True))
    )


def _pack_compact(block: Block) -> bytes:
    columns = [
        compact.pack_ids(block.series_ids),
        compact.pack_times(block.times_us),
        compact.pack_numbers(block.numbers),
    ]
    if block.context_of is not None:
        columns.append(compact.pack_ids(block.context_of))
    forms = [form for form, _ in columns]
    tail = _pack_tail(
        (forms, block.contexts, list(block.objects.keys()), list(block.objects.values()))
    )
    parts = [part for _, column in columns for part in column]
    return b"".join([_HEAD.pack(COMPACT_MAGIC, len(block), len(tail)), *parts, tail])


def _unpack_compact(body: bytes, n: int, tail_length: int) -> Block:
    forms, contexts, indexes, values = _unpack_compact_tail(body[len(body) - tail_length :])
    columns = []
    at = _HEAD.size
    for form in forms:
        column, at = compact.unpack(form, body, at, n)
        columns.append(column)
    series_ids, times_us, numbers, *rest = columns
    return Block(
        series_ids.astype(np.int32, copy=False),
        times_us,
        numbers,
        rest[0].astype(np.int32, copy=False) if rest else None,
        contexts,
        dict(zip(indexes, values, strict=True)),
    )


def concat(blocks: Sequence[Block]) -> Block:
    """One block of all points in order; contexts that several share are kept once."""
    if len(blocks) == 1:
        return blocks[0]
    contexts, context_of = _concat_contexts(blocks)
    objects: dict[int, Any] = {}
    at = 0
    for block in blocks:
        if block.objects:
            objects.update((at + index, value) for index, value in block.objects.items())
        at += len(block)
    return Block(
        np.concatenate([b.series_ids for b in blocks]),
        np.concatenate([b.times_us for b in blocks]),
        np.concatenate([b.numbers for b in blocks]),
        context_of,
        contexts,
        objects,
    )


def _concat_contexts(blocks: Sequence[Block]) -> tuple[list[bytes], Int32s | None]:
    if all(block.context_of is None for block in blocks):
        return [], None
    index_of: dict[bytes, int] = {}
    columns: list[Int32s] = []
    for block in blocks:
        if block.context_of is None:
            columns.append(np.full(len(block), -1, np.int32))
            continue
        # The extra last entry makes index -1 stay -1.
        mapping = np.array(
            [index_of.setdefault(c, len(index_of)) for c in block.contexts] + [-1], np.int32
        )
        columns.append(mapping[block.context_of])
    return list(index_of), np.concatenate(columns)
