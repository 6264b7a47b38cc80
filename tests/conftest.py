"""Fixtures of the whole suite: one real PostgreSQL per run and worker, a fresh database per
test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from daemons import DaemonProcess, start_daemon
from servers import PostgresServer, debian_bindir, start_server, wheel_bindir

from daemon.store.migrations import migrate
from daemon.store.pool import Database

_numbers = itertools.count()
_templates: set[int] = set()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests are marked with pytest.mark.anyio and run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The embedded PostgreSQL 18."""
    server = start_server(wheel_bindir())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[PostgresServer]:
    """Debian's PostgreSQL; `.ci/run` installs it."""
    bindir = debian_bindir()
    if bindir is None:
        pytest.skip("Debian's PostgreSQL is not installed (apt-get install postgresql)")
    server = start_server(bindir)
    yield server
    server.stop()


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


@pytest.fixture
async def dsn(postgres: PostgresServer) -> str:
    """A fresh, migrated database on the embedded server."""
    return await fresh_database(postgres)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Open pools on a fresh, migrated database."""
    opened = Database(dsn)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def daemon(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A real telemetryd on a fresh database of the embedded PostgreSQL, shared by the tests of a
    module."""
    process = start_daemon(asyncio.run(fresh_database(postgres)))
    yield process
    process.stop()
