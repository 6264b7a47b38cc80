"""Fresh databases on a test server, each cloned from a migrated template; and their schemas."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from servers import PostgresServer, wheel_bindir

from daemon.store.migrations import migrate

_numbers = itertools.count()
_templates: set[Path] = set()
"""Folders of the servers that have the template."""


async def fresh_database(server: PostgresServer) -> str:
    """The DSN of a new, migrated database, cloned from a template."""
    admin = await asyncpg.connect(server.dsn())
    try:
        if server.folder not in _templates:
            await admin.execute("drop database if exists template_telemetry")
            await admin.execute("create database template_telemetry")
            await migrate(server.dsn("template_telemetry"))
            _templates.add(server.folder)
        name = f"t{next(_numbers)}"
        await _clone(admin, name)
    finally:
        await admin.close()
    return server.dsn(name)


async def drop_database(server: PostgresServer, dsn: str) -> None:
    """Remove one that `fresh_database` made, whoever is in it still: all those of a run would need
    20 GB."""
    name = urlsplit(dsn).path.removeprefix("/")
    admin = await asyncpg.connect(server.dsn())
    try:
        await admin.execute(f"drop database if exists {name} with (force)")
    finally:
        await admin.close()


async def _clone(admin: asyncpg.Connection, name: str) -> None:
    """Somebody may be in the template still: who migrated it leaves a moment later."""
    for _ in range(5):
        try:
            await admin.execute(f"create database {name} template template_telemetry")
        except asyncpg.ObjectInUseError:
            await asyncio.sleep(1)
        else:
            return
    raise AssertionError("the template stays in use")


def schema_of(dsn: str) -> list[str]:
    """What pg_dump says of the schema, without the partitions of the journal."""
    done = subprocess.run(
        [wheel_bindir() / "pg_dump", "--schema-only", "--exclude-table=telemetry.journal_2*", dsn],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line and line[0] not in "\\-"]
