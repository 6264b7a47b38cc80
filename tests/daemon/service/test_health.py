"""Health while PostgreSQL hangs: a real server, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from control import Control, control_plane
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
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.store.health.PROBE_TIMEOUT_S", 4.0)
    await migrate(own_postgres.dsn())
    database = Database(own_postgres.dsn())
    await database.open()
    try:
        async with control_plane(database) as control:
            signal_all(own_postgres, signal.SIGSTOP)
            probe = asyncio.ensure_future(control.services.health.probe())
            await asyncio.sleep(0.05)
            while_hanging = await control.client.get("/health")
            has_waited = probe.done()
            await probe
            after = await control.client.get("/health")
            control.clock.advance_s(6)
            with pytest.raises(StoreUnavailable):
                await control.services.keys.authenticate(control.token, address="a")
            signal_all(own_postgres, signal.SIGCONT)
            async with asyncio.timeout(60):
                while not await works_again(control):
                    await asyncio.sleep(0.05)
    finally:
        await database.close()

    assert while_hanging.status_code == 200
    assert not has_waited
    assert after.status_code == 503


async def works_again(control: Control) -> bool:
    """Health says so, and the key is known."""
    await control.services.health.probe()
    try:
        await control.services.keys.authenticate(control.token, address="a")
    except StoreUnavailable:
        return False
    return (await control.client.get("/health")).status_code == 200
