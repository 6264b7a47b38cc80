"""Writes the newest point of each series; store/series reads them at start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.domain.latest import LatestPoint
from daemon.store.named_sql import load

if TYPE_CHECKING:
    from daemon.store.pool import Connection

SQL = load("latest")
# Rows of one statement; encoding more at once would hold up the event loop.
ROWS_MAX = 5_000


async def write_latest(connection: Connection, rows: Sequence[LatestPoint]) -> None:
    """Store these rows, inside the caller's transaction."""
    for at in range(0, len(rows), ROWS_MAX):
        part = rows[at : at + ROWS_MAX]
        await connection.execute(
            SQL["write_latest"],
            [row.series_id for row in part],
            [row.time_us for row in part],
            [row.seq for row in part],
            [row.value if isinstance(row.value, float) else None for row in part],
            [None if isinstance(row.value, float) else _json(row.value) for row in part],
            [None if row.context is None else row.context.decode() for row in part],
            [row.changed_at_us for row in part],
            [None if row.previous_value is None else _json(row.previous_value) for row in part],
        )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
