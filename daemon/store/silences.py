"""Silences as stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.errors import Invalid
from daemon.domain.silences import Silence
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("silences")
SILENCES_MAX = 1_000
"""Every message is held against all of them; a further one is refused."""


class SilenceStore:
    """Statements on silences."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, *, with_expired: bool, limit: int, offset: int
    ) -> tuple[list[Silence], int]:
        """A page, those that end last first, and how many there are in all."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_silences"], with_expired, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_silences"], with_expired, 1, 0)
                return [], first["total"] if first else 0
        return [_silence(row) for row in rows], rows[0]["total"] if rows else 0

    async def active(self, at: datetime | None = None) -> list[Silence]:
        """Those that hold then, or now, those that end last first."""
        async with self._database.connection("control") as connection:
            return [_silence(row) for row in await connection.fetch(SQL["active"], at)]

    async def find(self, silence_id: str) -> Silence | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_silence"], silence_id)
        return None if row is None else _silence(row)

    async def insert(self, silence: Silence) -> Silence:
        """Raises Invalid for one too many."""
        async with self._database.transaction("control") as connection:
            if await connection.fetchval(SQL["count_live"]) >= SILENCES_MAX:
                raise Invalid(
                    f"there are {SILENCES_MAX} silences already", code="too_many_silences"
                )
            row = await connection.fetchrow(
                SQL["insert_silence"], *_values(silence), silence.created_by
            )
        assert row is not None
        return replace(silence, **dict(row))

    async def change(self, silence_id: str, change: Callable[[Silence], Silence]) -> Silence | None:
        """Replace a silence by `change(silence)`, and look again at what it held back; None when
        it is unknown or over."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["find_silence"], silence_id)
            if row is None:
                return None
            silence = change(_silence(row))
            updated_at = await connection.fetchval(SQL["update_silence"], *_values(silence))
            if updated_at is None:
                return None
            await connection.execute(SQL["release"], silence_id)
        return replace(silence, updated_at=updated_at)

    async def expire(self, silence_id: str) -> bool:
        """End a silence now, and look again at what it held back; False when it is over."""
        async with self._database.transaction("control") as connection:
            if await connection.fetchval(SQL["expire_silence"], silence_id) is None:
                return False
            await connection.execute(SQL["release"], silence_id)
            return True


def _values(silence: Silence) -> tuple[Any, ...]:
    matchers = orjson.dumps(dict(silence.matchers)).decode()
    stamps = (silence.starts_at, silence.ends_at)
    return (silence.silence_id, matchers, *stamps, silence.comment)


def _silence(row: Record) -> Silence:
    values = {name: row[name] for name in Silence.__slots__}
    values["matchers"] = orjson.loads(values["matchers"])
    return Silence(**values)
