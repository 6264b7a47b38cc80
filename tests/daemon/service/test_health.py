"""Health while PostgreSQL hangs: a real server, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
from control import control_plane
from servers import PostgresServer, start_server, wheel_bindir

from daemon.domain.errors import StoreUnavailable
from daemon.store.migrations import migrate
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that may be stopped, since nobody else uses it."""
    server = start_server(wheel_bindir())
    yield server
    signal_all(server, signal.SIGCONT)
    server.stop()


def signal_all(server: PostgresServer, number: int) -> None:
    """The server and its children, which are sessions of their own."""
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    with open(children) as file:
        pids = [int(pid) for pid in file.read().split()]
    for pid in (server.process.pid, *pids):
        # A worker of the server may have ended meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def test_health_answers_at_once_while_the_database_hangs(
    own_postgres: PostgresServer,
) -> None:
    await migrate(own_postgres.dsn())
    database = Database(own_postgres.dsn())
    await database.open()
    try:
        async with control_plane(database) as control:
            signal_all(own_postgres, signal.SIGSTOP)
            probe = asyncio.ensure_future(control.services.health.probe())
            await asyncio.sleep(0.05)
            began_s = time.monotonic()
            while_hanging = await control.client.get("/health")
            took_s = time.monotonic() - began_s
            await probe
            after = await control.client.get("/health")
            control.clock.advance_s(6)
            with pytest.raises(StoreUnavailable):
                await control.services.keys.authenticate(control.token, address="a")
            signal_all(own_postgres, signal.SIGCONT)
            await control.services.health.probe()
            again = await control.client.get("/health")
            # The key works again too.
            await control.services.keys.authenticate(control.token, address="a")
    finally:
        await database.close()

    assert while_hanging.status_code == 200
    assert took_s < 1
    assert after.status_code == 503
    assert again.status_code == 200
