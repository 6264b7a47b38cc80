"""History in the database: rows of the chunk table, and the points in them.

Which rows to write is decided in service/compaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.chunk import DAY_US, Chunk, decode
from daemon.domain.merge import EMPTY
from daemon.store.arrays import read_array
from daemon.store.named_sql import load
from daemon.store.pool import Database

if TYPE_CHECKING:
    import asyncpg

SQL = load("chunks")
# A page of an export; 16 chunks hold at most 320,000 points.
PAGE_CHUNKS = 16
# Fewer chunks than this are decoded at once; more in a thread, so that the event loop goes on.
INLINE_CHUNKS_MAX = 8


async def read_points(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_us: int, end_us: int
) -> Block:
    """Points of history in [start_us, end_us), sorted by series id, then time."""
    if not len(series_ids) or start_us >= end_us:
        return EMPTY
    midnight_us = start_us // DAY_US * DAY_US
    async with database.connection("query") as connection:
        rows = await connection.fetch(
            SQL["read_chunks"], series_ids.tolist(), start_us, end_us, midnight_us
        )
    return await _decode_rows(rows, start_us=start_us, end_us=end_us)


async def iterate_points(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_us: int, end_us: int
) -> AsyncIterator[Block]:
    """Points of history in [start_us, end_us), by series id, then time, in bounded blocks.

    A block holds at most PAGE_CHUNKS chunks, and no connection or snapshot is kept between blocks.
    A series may go on in the next block; no key comes twice.
    """
    ids = np.unique(series_ids)
    if not len(ids):
        return
    series_id, from_us = int(ids[0]), start_us
    while len(ids):
        async with database.connection("query") as connection:
            rows = await connection.fetch(
                SQL["page_chunks"], ids.tolist(), start_us, end_us, series_id, from_us, PAGE_CHUNKS
            )
        block = await _decode_rows(rows, start_us=start_us, end_us=end_us)
        # A chunk of the series at hand may have been merged with what was already given.
        fresh = (block.series_ids != series_id) | (block.times_us >= from_us)
        if not fresh.all():
            block = block.take(np.flatnonzero(fresh))
        if len(block):
            yield block
        if rows:
            series_id, from_us = rows[-1]["series_id"], rows[-1]["end_us"] + 1
        if len(rows) < PAGE_CHUNKS:
            return
        ids = ids[np.searchsorted(ids, series_id) :]


async def _decode_rows(rows: Sequence[asyncpg.Record], *, start_us: int, end_us: int) -> Block:
    if len(rows) <= INLINE_CHUNKS_MAX:
        return _decode_clipped(rows, start_us, end_us)
    return await asyncio.to_thread(_decode_clipped, rows, start_us, end_us)


def _decode_clipped(rows: Sequence[asyncpg.Record], start_us: int, end_us: int) -> Block:
    block = decode([chunk_of(row) for row in rows])
    inside = (block.times_us >= start_us) & (block.times_us < end_us)
    return block if inside.all() else block.take(np.flatnonzero(inside))


def chunk_of(row: asyncpg.Record) -> Chunk:
    """The chunk of a row of read_chunks."""
    return Chunk(
        series_id=row["series_id"],
        start_us=row["start_us"],
        end_us=row["end_us"],
        points=row["points"],
        tick_us=row["tick_us"],
        ticks=_array(row["ticks"], "i4"),
        scale=row["scale"],
        base=row["base"],
        steps=_array(row["steps"], "i1"),
        carries=_array(row["carries"], "i2"),
        numbers=_array(row["numbers"], "f8"),
        objects=_text(row["objects"]),
        context_of=_array(row["context_of"], "i2"),
        contexts=_text(row["contexts"]),
    )


def _array(data: bytes | None, kind: str) -> npt.NDArray[Any] | None:
    return None if data is None else read_array(data, kind)


def _text(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
