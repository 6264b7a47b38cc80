"""Asks the database whether it answers, and whether its commits are durable (reliability: G-1)."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from daemon.store.errors import translating
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("health")
PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Settings as PostgreSQL says them: `on`, `off`, …"""

    fsync: str
    full_page_writes: str
    synchronous_commit: str
    server_version: str
    data_checksums: str
    is_standby: bool
    database_bytes: int
    lock_wait_s: float


class HealthStore:
    """Keeps a connection of its own, so that busy pools don't look like a dead database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def probe(self) -> DatabaseFacts:
        """Raises StoreUnavailable within some seconds when the database does not answer."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._database.listener()
                with translating():
                    # As the pools do: what the server's default is does not matter to our commits.
                    await self._connection.execute("set synchronous_commit = on")
            with translating():
                row = await self._connection.fetchrow(SQL["probe"], timeout=PROBE_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        assert row is not None
        return DatabaseFacts(**dict(row))

    def close(self) -> None:
        """Drop the connection without waiting for the server."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
