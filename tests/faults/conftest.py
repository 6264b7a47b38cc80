"""A server that keeps its word on disk, for tests that kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import PostgresServer, start_server, wheel_bindir


@pytest.fixture(scope="session")
def durable_postgres() -> Iterator[PostgresServer]:
    """The embedded PostgreSQL with fsync on."""
    server = start_server(wheel_bindir(), fsync=True)
    yield server
    server.stop()
