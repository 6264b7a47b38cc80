"""Fresh databases on a test server, each cloned from a migrated template."""

from __future__ import annotations

import itertools

import asyncpg
from servers import PostgresServer

from daemon.store.migrations import migrate

_numbers = itertools.count()
_templates: set[int] = set()


async def fresh_database(server: PostgresServer) -> str:
    """The DSN of a new, migrated database, cloned from a template."""
    admin = await asyncpg.connect(server.dsn())
    try:
        if id(server) not in _templates:
            await admin.execute("drop database if exists template_telemetry")
            await admin.execute("create database template_telemetry")
            await migrate(server.dsn("template_telemetry"))
            _templates.add(id(server))
        name = f"t{next(_numbers)}"
        await admin.execute(f"create database {name} template template_telemetry")
    finally:
        await admin.close()
    return server.dsn(name)
