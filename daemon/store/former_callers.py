"""Callers with former secrets of keys, as stored. When they are noted is decided in
service/former_callers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from daemon.domain.former_callers import CALLERS_MAX, Caller, FormerCaller, Overlap
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("former_callers")


class FormerCallerStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_key(self, key_id: str, *, now: datetime) -> list[FormerCaller]:
        """The last one first; there are at most CALLERS_MAX, and none when the overlap is over."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["of_key"], key_id, now, CALLERS_MAX)
        return [FormerCaller(*row.values()) for row in rows]

    async def note(self, uses: Mapping[tuple[Overlap, Caller], datetime]) -> None:
        """When each caller came last; a later stamp of another daemon stands."""
        async with self._database.connection("control") as connection:
            await connection.execute(
                SQL["note"],
                [overlap.key_id for overlap, _ in uses],
                [overlap.valid_until for overlap, _ in uses],
                [caller.address for _, caller in uses],
                [caller.agent for _, caller in uses],
                list(uses.values()),
            )
            key_ids = list({overlap.key_id for overlap, _ in uses})
            await connection.execute(SQL["forget"], key_ids, CALLERS_MAX)
