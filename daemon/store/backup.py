"""What a backup and a restore ask of the database themselves."""

from __future__ import annotations

import asyncpg

from daemon.store.errors import translating
from daemon.store.named_sql import load

SQL = load("backup")
RENEW = SQL["renew"]
"""Statements that end a restore, in its transaction."""


async def look(dsn: str) -> tuple[int, bool]:
    """The server's major version, and whether telemetry is there. Raises StoreUnavailable."""
    with translating():
        connection = await asyncpg.connect(dsn, timeout=5, command_timeout=30)
    try:
        with translating():
            major = await connection.fetchval(SQL["server_major"])
            return int(major), bool(await connection.fetchval(SQL["is_there"]))
    finally:
        await connection.close(timeout=5)
