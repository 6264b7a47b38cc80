"""The journal in PostgreSQL: append a block, read blocks after a position. Packing is
domain/block's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Record

from daemon.clock import as_datetime, as_us
from daemon.domain.batches import BatchRecord
from daemon.domain.events import Event
from daemon.store.events import event_of
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("journal")


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One block as it stands in the journal; `body` is None where it was not asked for."""

    seq: int
    appended_at_us: int
    writer: UUID
    points: int
    body: bytes | None


class JournalStore:
    """All statements on the journal; `writer` identifies this process."""

    def __init__(self, database: Database, *, writer: UUID) -> None:
        self._database = database
        self.writer = writer

    async def append(
        self,
        body: bytes,
        *,
        points: int,
        catalog_version: int,
        notify: bool = False,
        batches: Sequence[BatchRecord] = (),
    ) -> int:
        """Commit a block and return its position; on return it is durable.

        Raises CatalogStale, BatchStored (nothing was written), StoreUnavailable, StorageFull, and
        OutcomeUnknown when the connection was lost meanwhile. Order: `seq` is in commit order
        (design, section 1.1).
        """
        async with self._database.kept_connection("ingest") as connection:
            seq: int = await connection.fetchval(
                SQL["append"],
                self.writer,
                catalog_version,
                points,
                body,
                notify,
                [b.scope for b in batches],
                [b.batch_id for b in batches],
                [b.payload_hash for b in batches],
                [b.answer for b in batches],
            )
        return seq

    async def prove(self) -> None:
        """Return when appends can commit: the lock, the partition and the disk are there.

        Raises what `append` would.
        """
        async with self._database.kept_connection("ingest") as connection:
            await connection.execute(SQL["prove"])

    async def read_after(
        self, seq: int, *, limit_blocks: int, without_own_bodies: bool = False
    ) -> list[JournalRow]:
        """Up to `limit_blocks` blocks after `seq`, in commit order."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(
                SQL["read_after"], seq, limit_blocks, self.writer, without_own_bodies
            )
        return [
            JournalRow(r["seq"], as_us(r["appended_at"]), r["writer"], r["points"], r["body"])
            for r in rows
        ]

    async def read_entries(
        self, seq: int, *, limit: int, without_own_bodies: bool = False
    ) -> list[JournalRow | Event]:
        """Up to `limit` blocks and events after `seq`, in their one order, of one moment."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(
                SQL["read_entries"], seq, limit, self.writer, without_own_bodies
            )
        return [_row_of(r) for r in rows]

    async def read_newest(self, *, upto: int, limit: int, points: int) -> list[JournalRow | Event]:
        """The newest blocks and events up to a position, newest first: at most `limit`, and no more
        once the blocks hold so many points."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(SQL["read_newest"], upto, limit, points)
        return [_row_of(r) for r in rows]

    async def read_one(self, seq: int) -> bytes | None:
        """The body of one block, or None when it is not kept any more."""
        async with self._database.connection("query") as connection:
            body: bytes | None = await connection.fetchval(SQL["read_one"], seq)
        return body

    async def bounds(self) -> tuple[int, int]:
        """Every block after the first position is kept; the second is the last number given out,
        to a block, an event or nobody."""
        async with self._database.connection("query") as connection:
            row = await connection.fetchrow(SQL["bounds"])
        assert row is not None
        return row["journal_floor"], row["last_number"]

    async def newest_seq(self) -> int | None:
        return await self._number("newest_seq")

    async def last_number(self) -> int:
        """The last number given out, also when its partition is gone; 0 before the first."""
        return await self._number("last_number") or 0

    async def end_before(self, appended_at_us: int) -> int | None:
        """The newest position appended before this time, or None."""
        return await self._number("end_before", as_datetime(appended_at_us))

    async def position_of(self, consumer: str) -> int:
        return await self._number("position_of", consumer) or 0

    async def stored_batches(
        self, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], BatchRecord]:
        """Which of these (scope, batch id) are stored already."""
        scopes, batch_ids = [k[0] for k in keys], [k[1] for k in keys]
        async with self._database.connection("ingest") as connection:
            rows = await connection.fetch(SQL["stored_batches"], scopes, batch_ids)
        return {
            (r["scope"], r["batch_id"]): BatchRecord(
                r["scope"], r["batch_id"], r["payload_hash"], r["answer"]
            )
            for r in rows
        }

    async def register_daemon(self, address: str) -> int:
        """Say that this daemon is alive; returns how many others are."""
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(SQL["register_daemon"], self.writer, address)
            return int(await connection.fetchval(SQL["other_daemons"], self.writer))

    async def unregister_daemon(self) -> None:
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(SQL["unregister_daemon"], self.writer)

    async def _number(self, name: str, *arguments: object) -> int | None:
        async with self._database.connection("query") as connection:
            found: int | None = await connection.fetchval(SQL[name], *arguments)
        return found


def _row_of(row: Record) -> JournalRow | Event:
    if row["event_id"] is not None:
        return event_of(row)
    return JournalRow(
        row["seq"], as_us(row["appended_at"]), row["writer"], row["points"], row["body"]
    )
