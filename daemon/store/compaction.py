"""What a compaction reads of the journal and history, and the transactions that write its result.

Every transaction ends with the fence of store/leases, so nothing is written by a former holder.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daemon import faults
from daemon.domain.block import Block
from daemon.domain.chunk import Chunk, Int64s, decode
from daemon.domain.errors import TryLater
from daemon.domain.latest import LatestPoint
from daemon.domain.placement import SeriesDays, Spans
from daemon.domain.rollup import NO_ROLLUPS, Rollups
from daemon.store import leases
from daemon.store.arrays import read_array, write_array
from daemon.store.chunks import chunk_of
from daemon.store.latest import write_latest
from daemon.store.leases import Grant
from daemon.store.named_sql import load
from daemon.store.pool import Database
from daemon.store.rollups import unpack_rollups

if TYPE_CHECKING:
    from daemon.store.pool import Connection

SQL = load("compaction")
SLICE_BLOCKS_MAX = 20_000
# Rows of one statement; encoding more at once would hold up the event loop.
ROLLUPS_MAX = 2_000
VACUUM_TIMEOUT_S = 600.0
COPY_BYTES = 256 * 1024
_COLUMNS = Chunk.__slots__
_FIELD = struct.Struct(">i")
_FIXED = struct.Struct(">hiiiqiqiiiq")
_NULL = _FIELD.pack(-1)
_WHOLE, _PIECE = _FIELD.pack(1) + b"\1", _FIELD.pack(1) + b"\0"


NO_SPANS = Spans(
    np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
)


class SeriesGone(TryLater):
    """A series was deleted meanwhile; nothing was written."""

    code = "series_gone"


@dataclass(frozen=True, slots=True)
class Pending:
    """What the journal holds after a position; `age_s` is that of the oldest block, 0 for none."""

    points: int
    blocks: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What one compaction writes: chunks in place of others, whole hours, newest points.

    `removed` are the chunks that go: series ids and first times.
    """

    series_ids: npt.NDArray[np.int32]
    removed: tuple[npt.NDArray[np.int32], Int64s]
    chunks: Sequence[Chunk]
    rollups: Rollups = NO_ROLLUPS
    latest: Sequence[LatestPoint] = field(default_factory=list)


async def read_pending(database: Database, position: int) -> Pending:
    """How much waits after a position."""
    async with database.connection("control") as connection:
        row = await connection.fetchrow(SQL["pending"], position)
    assert row is not None
    return Pending(row["points"], row["blocks"], row["age_s"] or 0.0)


async def read_slice(
    database: Database, position: int, *, points_max: int, bytes_max: int
) -> list[tuple[int, bytes]]:
    """The next blocks after a position, as (seq, body), within the bounds but at least one."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(SQL["slice_sizes"], position, SLICE_BLOCKS_MAX)
        if not rows:
            return []
        points = np.cumsum([row["points"] for row in rows])
        sizes = np.cumsum([row["bytes"] for row in rows])
        fitting = np.count_nonzero((points <= points_max) & (sizes <= bytes_max))
        last = rows[max(int(fitting), 1) - 1]["seq"]
        bodies = await connection.fetch(SQL["slice_bodies"], position, last)
    return [(row["seq"], row["body"]) for row in bodies]


async def read_known(
    database: Database, series_ids: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Those of these series that exist, ascending."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(SQL["known_series"], series_ids.tolist())
    return np.sort(np.array([row["series_id"] for row in rows], np.int32))


async def read_spans(database: Database, days: SeriesDays) -> Spans:
    """The chunks that history has of these series-days."""
    async with database.connection("control") as connection:
        row = await connection.fetchrow(
            SQL["spans"], days.series_ids.tolist(), days.midnights_us.tolist()
        )
    if row is None or row["runs"] is None:
        return NO_SPANS
    return Spans(
        read_array(row["runs"], "i8"),
        read_array(row["starts_us"], "i8"),
        read_array(row["ends_us"], "i8"),
        read_array(row["points"], "i4"),
    )


async def read_mergeable(
    database: Database, *, small_points: int
) -> list[tuple[int, int, int, int]]:
    """(series id, day, chunks, points) of each series-day in several small chunks."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(SQL["mergeable"], small_points)
    return [(row["series_id"], row["day"], row["pieces"], row["points"]) for row in rows]


async def read_chunks_at(
    database: Database, series_ids: npt.NDArray[np.int32], starts_us: Int64s
) -> Block:
    """The points of the chunks with these keys, by series and time."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(
            SQL["read_chunks_at"], series_ids.tolist(), starts_us.tolist()
        )
    return await asyncio.to_thread(lambda: decode([chunk_of(row) for row in rows]))


async def read_rollups_at(
    database: Database, series_ids: npt.NDArray[np.int32], hours: npt.NDArray[np.int32]
) -> Rollups:
    """The rollups of these hours, sorted by series and hour."""
    async with database.connection("control") as connection:
        packed = await connection.fetchval(
            SQL["read_rollups_at"], series_ids.tolist(), hours.tolist()
        )
    return await asyncio.to_thread(unpack_rollups, packed)


async def write(
    database: Database, grant: Grant, changes: Changes, *, position: int, to: int
) -> None:
    """Write and move the position, in one transaction.

    Raises LeaseLost or SeriesGone, and then nothing is written.
    """
    pieces = await asyncio.to_thread(lambda: list(copy_pieces(changes.chunks)))
    async with database.transaction("control") as connection:
        await _write(connection, changes, pieces)
        faults.point(faults.Point.COMPACTION_BEFORE_POSITION)
        await leases.move(connection, grant, position=position, to=to)
    faults.point(faults.Point.COMPACTION_AFTER_COMMIT)


async def replace(database: Database, grant: Grant, changes: Changes) -> None:
    """Write without moving the position. Raises LeaseLost or SeriesGone."""
    pieces = await asyncio.to_thread(lambda: list(copy_pieces(changes.chunks)))
    async with database.transaction("control") as connection:
        await _write(connection, changes, pieces)
        faults.point(faults.Point.MERGE_BEFORE_COMMIT)
        await leases.confirm(connection, grant)


async def vacuum_pieces(database: Database) -> None:
    """Free the room of pieces that were merged; skipped when somebody is in the way."""
    with suppress(TryLater):
        async with database.connection("control") as connection:
            await connection.execute(SQL["vacuum_pieces"], timeout=VACUUM_TIMEOUT_S)


async def _write(connection: Connection, changes: Changes, pieces: list[bytes]) -> None:
    ids = changes.series_ids
    if len(ids) != await connection.fetchval(SQL["lock_series"], ids.tolist()):
        raise SeriesGone
    if len(changes.removed[0]):
        removed = [column.tolist() for column in changes.removed]
        await connection.execute(SQL["delete_chunks_at"], *removed)
        faults.point(faults.Point.COMPACTION_AFTER_DELETE)
    if changes.chunks:
        await connection.copy_to_table(
            "chunk",
            schema_name="telemetry",
            columns=_COLUMNS,
            format="binary",
            source=_each(pieces),
        )
    faults.point(faults.Point.COMPACTION_AFTER_CHUNKS)
    await _write_rollups(connection, changes.rollups)
    await write_latest(connection, changes.latest)


async def _write_rollups(connection: Connection, rollups: Rollups) -> None:
    columns = rollups.columns()
    for at in range(0, len(rollups), ROLLUPS_MAX):
        part = [column[at : at + ROLLUPS_MAX].tolist() for column in columns]
        await connection.execute(SQL["write_rollups"], *part)


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def copy_pieces(chunks: Sequence[Chunk]) -> Iterator[bytes]:
    """The chunks in PostgreSQL's binary COPY form (manual, section COPY, Binary Format)."""
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    size = 0
    for chunk in chunks:
        row = _row(chunk)
        parts.append(row)
        size += len(row)
        if size >= COPY_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(b"\xff\xff")
    yield b"".join(parts)


def _row(chunk: Chunk) -> bytes:
    fields = len(_COLUMNS)
    return b"".join(
        (
            _FIXED.pack(
                *(fields, 4, chunk.series_id, 8, chunk.start_us, 8, chunk.end_us, 4, chunk.points),
                *(8, chunk.tick_us),
            ),
            _array(chunk.ticks, "i4"),
            _NULL if chunk.scale is None else struct.pack(">ii", 4, chunk.scale),
            _NULL if chunk.base is None else struct.pack(">iq", 8, chunk.base),
            _array(chunk.steps, "i1"),
            _array(chunk.carries, "i2"),
            _array(chunk.numbers, "f8"),
            _text(chunk.objects),
            _array(chunk.context_of, "i2"),
            _text(chunk.contexts),
            _WHOLE if chunk.is_whole else _PIECE,
        )
    )


def _array(values: npt.NDArray[np.generic] | None, kind: str) -> bytes:
    return _NULL if values is None else _text(write_array(values, kind))


def _text(data: bytes | None) -> bytes:
    return _NULL if data is None else _FIELD.pack(len(data)) + data
