"""Where a figure is measured: a folder with a real daemon on its embedded PostgreSQL, fsync on."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
from daemons import DaemonProcess, start_daemon

from daemon.postgres.layout import ADMIN_ROLE, DATABASE, recorded

T = TypeVar("T")
PENDING = """
select coalesce((select max(seq) from telemetry.journal), 0)
       - coalesce((select position from telemetry.consumer where name = 'compactor'), 0)
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A folder that outlives its daemons, so that one can be started on what another left."""

    folder: Path

    @contextmanager
    def daemon(self, **settings: str) -> Iterator[DaemonProcess]:
        """A daemon that serves, until the end of the block; then it is stopped by SIGTERM."""
        process = self.start(wait=True, **settings)
        try:
            yield process
        except Exception as error:
            errors = [line for line in process.log if line.get("level") in ("error", "critical")]
            error.add_note(f"the daemon said: {errors[:3]}")
            raise
        finally:
            process.stop(timeout_s=90)

    def start(self, *, wait: bool = True, **settings: str) -> DaemonProcess:
        """A daemon on this folder; without `wait` it may not serve yet."""
        data_dir = str(self.folder / "postgres")
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        settings = settings | {"database__data_dir": data_dir}
        return start_daemon("embedded", home=home, wait=wait, key="", environment=None, **settings)

    @property
    def dsn(self) -> str:
        """The same database, for the conventional table beside ours."""
        layout = recorded(self.folder / "postgres")
        assert layout is not None
        return layout.dsn(ADMIN_ROLE, DATABASE)

    def ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of one query over a new connection."""

        async def run(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows

        return self.with_connection(run)

    def with_connection(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async def run() -> T:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(run())

    def wait_until_compacted(self, *, timeout_s: float = 120) -> None:
        """Return when the compactor has followed the journal to its end."""
        deadline = time.monotonic() + timeout_s
        while self.ask(PENDING)[0][0] > 0:
            if time.monotonic() > deadline:
                raise TimeoutError("the compactor does not come to the end of the journal")
            time.sleep(0.25)


@contextmanager
def scratch() -> Iterator[Site]:
    """A site in a new folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tlmbench-"))
    folder.chmod(0o711)
    try:
        yield Site(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def port_of(daemon: DaemonProcess) -> int:
    port = urlsplit(daemon.url).port
    assert port is not None
    return port
