"""Events as stored: appended in the transaction of what they tell, read in the order of the
journal. Who may see them is domain/events'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.events import CAUSE_MEMBER, Event, NewEvent
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database
from daemon.tracing import links_now

SQL = load("events")
SEQ_MAX = 2**63 - 1


async def append(connection: Connection, event: NewEvent) -> int | None:
    """Store an event and return its position; None when its dedup id is stored already.

    Its data keeps the request that it comes from, and queries take that out again.
    The last statement of a transaction: until the commit, no block and no event can be appended.
    """
    seq: int | None = await connection.fetchval(
        SQL["append"],
        event.event_id,
        event.type,
        event.severity,
        event.subject,
        event.message,
        orjson.dumps(_with_cause(event.data), option=orjson.OPT_UTC_Z).decode(),
        event.device_id,
        event.metric_name,
        event.occurred_at,
        event.created_by,
        event.dedup_id,
    )
    return seq


def _with_cause(data: Mapping[str, Any]) -> Mapping[str, Any]:
    links = links_now()
    return {**data, CAUSE_MEMBER: links} if links else data


class EventStore:
    """Reads and single appends; services that change something else use `append` themselves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, event: NewEvent) -> Event:
        """Store an event; with a dedup id that is stored already, the event that has it."""
        async with self._database.transaction("control") as connection:
            if await append(connection, event) is None:
                row = await connection.fetchrow(SQL["find_told"], event.dedup_id)
            else:
                row = await connection.fetchrow(SQL["find"], event.event_id)
        assert row is not None
        return event_of(row)

    async def find(self, event_id: str) -> Event | None:
        async with self._database.connection("query") as connection:
            row = await connection.fetchrow(SQL["find"], event_id)
        return None if row is None else event_of(row)

    async def between(
        self,
        after: int,
        *,
        upto: int = SEQ_MAX,
        types: Sequence[str] | None = None,
        severities: Sequence[str] | None = None,
        limit: int,
    ) -> list[Event]:
        """Events in (after, upto] in order; None means all types, all severities."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(SQL["between"], after, upto, types, severities, limit)
        return [event_of(row) for row in rows]

    async def newest(
        self,
        before: int = SEQ_MAX,
        *,
        types: Sequence[str] | None = None,
        severities: Sequence[str] | None = None,
        limit: int,
    ) -> list[Event]:
        """Events before a position, newest first."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(SQL["newest"], before, types, severities, limit)
        return [event_of(row) for row in rows]

    async def bounds(self) -> tuple[int, int]:
        """Every event after the first position is kept; the second is the last number given out,
        to an event, a block or nobody."""
        async with self._database.connection("query") as connection:
            row = await connection.fetchrow(SQL["bounds"])
        assert row is not None
        return row["event_floor"], row["last_number"]

    async def newest_seq(self) -> int:
        """The position of the newest event; 0 when there is none."""
        async with self._database.connection("query") as connection:
            return int(await connection.fetchval(SQL["newest_seq"]) or 0)


def event_of(row: Record) -> Event:
    """The event of a row that has its columns by name."""
    return Event(*(row[name] for name in Event.__slots__))
