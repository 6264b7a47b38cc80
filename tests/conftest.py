"""Fixtures of the whole suite: one real PostgreSQL per run and worker, a fresh database per
test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import browser
import disks
import documents
import hosts
import pytest
import receivers
import slow_clients
from daemons import DaemonProcess, kill_started, start_daemon, started
from databases import drop_database, fresh_database
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings
from servers import PostgresServer, debian_bindir, start_server, wheel_bindir

from daemon.store.pool import Database, PoolLimits

# A busy machine is no failure, and a run is to be repeatable; EXPLORE=1 tries other examples.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=not os.environ.get("EXPLORE"),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("suite")
LONGEST = {"test_tail_storm.py", "test_host.py", "test_absence.py", "test_openapi_fuzz.py"}
PATIENCE_S = 60.0
"""How long a test waits for what takes milliseconds, unless it says something else."""
# Who is started in the background by a script ignores SIGINT, and so would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for waiting in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, waiting, PATIENCE_S)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none is left to one worker when the others have ended."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A run without a browser, a proxy … says so: a skip alone is easily overlooked."""
    skipped = terminalreporter.stats.get("skipped", [])
    for missing in (
        browser.MISSING,
        disks.MISSING,
        documents.MISSING,
        hosts.MISSING,
        receivers.ALERTMANAGER_MISSING,
        slow_clients.MISSING,
    ):
        if count := sum(missing in str(report.longrepr) for report in skipped):
            said = f"WARNING: {count} tests did not run: {missing}"
            terminalreporter.write_line(said, yellow=True, bold=True)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests are marked with pytest.mark.anyio and run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_daemon_outlives_its_test() -> Iterator[None]:
    """Also when it fails half-way: a process left behind would fail another test."""
    yield
    kill_started()


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


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """A fresh, migrated database on the embedded server, for one test."""
    made = await fresh_database(postgres)
    yield made
    await drop_database(postgres, made)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Open pools on a fresh, migrated database."""
    patient = PoolLimits(connect_timeout_s=PATIENCE_S, acquire_timeout_s=PATIENCE_S)
    opened = Database(dsn, limits=patient)
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


@pytest.fixture
async def daemons(dsn: str) -> AsyncIterator[list[DaemonProcess]]:
    """Two of one database, behind a proxy that they trust: X-Forwarded-For is who asks."""
    trusted = {"server__trusted_proxies": '["127.0.0.1/32"]'}
    first = await started(dsn, **trusted)
    second = await started(dsn, key=first.key, **trusted)
    yield [first, second]
    for one in (first, second):
        await asyncio.to_thread(one.stop)
