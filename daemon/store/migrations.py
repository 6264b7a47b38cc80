"""Applies `sql/migrations` in order, each in its own transaction, one runner at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from daemon import faults
from daemon.domain.errors import DomainError
from daemon.store.errors import translating
from daemon.store.named_sql import load, sql_folder

SQL = load("migrations")


class MigrationChanged(DomainError):
    """A migration that was applied here has been edited since."""

    code = "migration_changed"


class SchemaNewer(DomainError):
    """The database was made by a newer telemetryd."""

    code = "schema_newer"


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations this program carries, in order."""
    files = sorted((folder or sql_folder() / "migrations").glob("[0-9]*.sql"))
    return [Migration(int(f.name[:4]), f.stem[5:], f.read_text()) for f in files]


async def migrate(dsn: str, *, known: list[Migration] | None = None) -> list[Migration]:
    """Bring the database to this program's schema; returns what was applied.

    Raises MigrationChanged, SchemaNewer, and StoreUnavailable when the server can't be reached.
    """
    known = known_migrations() if known is None else known
    with translating():
        connection = await asyncpg.connect(dsn, timeout=5, command_timeout=600)
    try:
        with translating(writing=True):
            return await _apply_missing(connection, known)
    finally:
        await connection.close(timeout=5)


async def _apply_missing(
    connection: asyncpg.Connection[asyncpg.Record], known: list[Migration]
) -> list[Migration]:
    async with connection.transaction():
        await connection.execute(SQL["lock_runner"])
        await connection.execute(SQL["make_table"])
        applied = {r["number"]: r["checksum"] for r in await connection.fetch(SQL["applied"])}
    newest = known[-1].number if known else 0
    if applied and max(applied) > newest:
        raise SchemaNewer(f"the database is at schema {max(applied)}, this program knows {newest}")
    done: list[Migration] = []
    for migration in known:
        if migration.number in applied:
            if applied[migration.number] != migration.checksum:
                raise MigrationChanged(f"migration {migration.number:04} was edited after use")
        elif await _apply(connection, migration):
            done.append(migration)
    return done


async def _apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> bool:
    """Apply one; False when another runner has done it meanwhile."""
    async with connection.transaction():
        await connection.execute(SQL["lock_runner"])
        if await connection.fetchval(SQL["is_applied"], migration.number):
            return False
        await connection.execute(migration.sql)
        await connection.execute(
            SQL["record"], migration.number, migration.name, migration.checksum
        )
        faults.point(faults.Point.MIGRATION_BEFORE_COMMIT)
    faults.point(faults.Point.MIGRATION_AFTER_COMMIT)
    return True
