"""Tickets as stored: only their hashes, and what each opens."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("tickets")


@dataclass(frozen=True, slots=True)
class TicketRow:
    """Whose ticket it is, and what it opens; without subscription and channel any stream."""

    key_id: str
    subscription_id: str | None
    channel: str | None
    session_id: str | None = None


class TicketStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, digest: bytes, row: TicketRow, *, life_s: float) -> None:
        async with self._database.transaction("control") as connection:
            await connection.execute(
                SQL["insert_ticket"],
                digest,
                row.key_id,
                row.subscription_id,
                row.channel,
                life_s,
                row.session_id,
            )

    async def use(self, digest: bytes) -> TicketRow | None:
        """Take the ticket; None when there is none, it was used, or it is too old."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["use_ticket"], digest)
        if row is None or not row["is_valid"]:
            return None
        return TicketRow(row["key_id"], row["subscription_id"], row["channel"], row["session_id"])
