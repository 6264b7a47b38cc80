"""Watches as stored. Every change raises the rules' version, which the evaluator compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.errors import Conflict
from daemon.domain.watches import Watch
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("watches")
RULES_SQL = load("rules")
WAITING_MAX = 100
"""An owner has no more watches waiting; a further one is refused."""
_JSON_FIELDS = ("from_value", "to_value", "quiet_hours", "fired_value")


class WatchStore:
    """Statements on watches; who asks is always the owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, owner: str, *, state: str | None, limit: int, offset: int
    ) -> tuple[list[Watch], int]:
        """A page, the newest first, and how many there are."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_watches"], owner, state, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_watches"], owner, state, 1, 0)
                return [], first["total"] if first else 0
        return [watch_of(row) for row in rows], rows[0]["total"] if rows else 0

    async def find(self, watch_id: str, *, owner: str) -> Watch | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_watch"], watch_id, owner)
        return None if row is None else watch_of(row)

    async def insert(self, watch: Watch) -> Watch:
        """Raises Conflict `too_many_watches` over the quota."""
        async with self._database.transaction("control") as connection:
            # The row of the version also lets the quota be counted by one at a time.
            await connection.fetchval(RULES_SQL["next_version"])
            if await connection.fetchval(SQL["count_waiting"], watch.owner) >= WAITING_MAX:
                detail = f"{WAITING_MAX} watches are waiting already"
                raise Conflict(detail, code="too_many_watches")
            row = await connection.fetchrow(SQL["insert_watch"], *_values(watch))
            await connection.execute(SQL["mark_watch"], watch.watch_id)
        assert row is not None
        return replace(watch, **dict(row))

    async def change(
        self, watch_id: str, change: Callable[[Watch], Watch], *, owner: str
    ) -> Watch | None:
        """Replace a watch that has not fired by `change(watch)`; None when there is none."""
        async with self._database.transaction("control") as connection:
            await connection.fetchval(RULES_SQL["next_version"])
            row = await connection.fetchrow(SQL["find_watch"], watch_id, owner)
            if row is None or row["fired_at"] is not None:
                return None
            before = watch_of(row)
            watch = change(before)
            updated_at = await connection.fetchval(SQL["update_watch"], *_values(watch))
            if _what_is_watched(watch) != _what_is_watched(before):
                await connection.execute(SQL["mark_watch"], watch_id)
        return replace(watch, updated_at=updated_at)

    async def delete(self, watch_id: str, *, owner: str) -> bool:
        async with self._database.transaction("control") as connection:
            await connection.fetchval(RULES_SQL["next_version"])
            return await connection.fetchval(SQL["delete_watch"], watch_id, owner) is not None


def _what_is_watched(watch: Watch) -> tuple[Any, ...]:
    return watch.device_id, watch.metric_name, watch.from_value, watch.to_value


def _values(watch: Watch) -> tuple[Any, ...]:
    return (
        watch.watch_id,
        watch.owner,
        watch.device_id,
        watch.metric_name,
        *(_json(value) for value in (watch.from_value, watch.to_value, watch.quiet_hours)),
        watch.notification_channels,
        watch.expires_at,
        watch.revision,
    )


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def watch_of(row: Record) -> Watch:
    """The watch of a row that has its columns by name."""
    values = {name: row[name] for name in Watch.__slots__}
    for name in _JSON_FIELDS:
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Watch(**values)
