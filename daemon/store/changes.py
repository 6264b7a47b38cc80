"""Blocks of the journal for readers: bounded by points, so that a page is bounded in memory."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("changes")
BLOCKS_MAX = 500


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A packed block and its position."""

    seq: int
    body: bytes


async def read_bounded(
    database: Database, after: int, *, upto: int, points: int
) -> list[CommittedBlock]:
    """Blocks in (after, upto], in commit order, closed after the one that reaches `points`."""
    async with database.connection("query") as connection:
        rows = await connection.fetch(SQL["read_bounded"], after, upto, BLOCKS_MAX, points)
    return [CommittedBlock(row["seq"], row["body"]) for row in rows]
