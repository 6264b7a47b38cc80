"""Channels as stored, with their circuit breakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.channels import Channel
from daemon.domain.deliveries import Outcome
from daemon.domain.errors import Invalid
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("channels")
NOTIFICATIONS_SQL = load("notifications")
CHANNELS_MAX = 1_000
FAILURES_MAX = 5
"""After so many failures in a row a channel rests."""
REST_MIN_S, REST_MAX_S = 2.0, 60.0
ERROR_CHARS_MAX = 256


class ChannelStore:
    """Statements on channels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, kind: str | None, limit: int, offset: int) -> tuple[list[Channel], int]:
        """A page by name, and how many there are in all."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_channels"], kind, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_channels"], kind, 1, 0)
                return [], first["total"] if first else 0
        return [_channel(row) for row in rows], rows[0]["total"] if rows else 0

    async def find(self, names: Sequence[str]) -> dict[str, Channel]:
        """Those of these channels that there are, by name."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["find_channels"], names)
        return {row["name"]: _channel(row) for row in rows}

    async def insert(self, channel: Channel) -> Channel | None:
        """Store a channel; None when its name is taken. Raises Invalid for one too many."""
        async with self._database.transaction("control") as connection:
            if await connection.fetchval(SQL["count_channels"]) >= CHANNELS_MAX:
                raise Invalid(
                    f"there are {CHANNELS_MAX} channels already", code="too_many_channels"
                )
            row = await connection.fetchrow(
                SQL["insert_channel"],
                channel.channel_id,
                channel.name,
                channel.kind,
                _json(channel.settings),
                channel.secrets,
                channel.fallback,
                channel.created_by,
            )
        return None if row is None else replace(channel, **dict(row))

    async def change(self, name: str, change: Callable[[Channel], Channel]) -> Channel | None:
        """Replace a channel by `change(channel)`; None when it is unknown. What waits for it is
        tried at once."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["hold_channel"], name)
            if row is None:
                return None
            channel = change(_channel(row))
            stamps = await connection.fetchrow(
                SQL["update_channel"],
                name,
                _json(channel.settings),
                channel.secrets,
                channel.fallback,
            )
            await connection.execute(NOTIFICATIONS_SQL["wake_channel"], name)
        assert stamps is not None
        return replace(channel, **dict(stamps), failures=0, open_until=None)

    async def delete(self, name: str) -> bool:
        async with self._database.transaction("control") as connection:
            return await connection.fetchval(SQL["delete_channel"], name) is not None

    async def rules_of(self, name: str) -> list[str]:
        """The names of the rules that tell this channel."""
        async with self._database.connection("control") as connection:
            return [row["name"] for row in await connection.fetch(SQL["rules_of"], name)]


async def note(connection: Connection, name: str, outcome: Outcome) -> None:
    """What an attempt says of a channel: one that arrives closes its circuit; after FAILURES_MAX in
    a row that did not, it rests for a while. The last of a transaction: others wait for the row."""
    if outcome.is_sent:
        await connection.execute(SQL["note_sent"], name)
    else:
        why = (outcome.detail or "")[:ERROR_CHARS_MAX]
        await connection.execute(
            SQL["note_failed"], name, why, FAILURES_MAX, REST_MIN_S, REST_MAX_S
        )


def _channel(row: Record) -> Channel:
    values = {name: row[name] for name in Channel.__slots__}
    values["settings"] = orjson.loads(values["settings"])
    return Channel(**values)


def _json(value: Any) -> str:
    return orjson.dumps(dict(value)).decode()
