"""Supervisors of the embedded PostgreSQL for tests: in this process, or in one to be killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import asyncpg
import psutil

from daemon.postgres.layout import recorded
from daemon.postgres.supervisor import EmbeddedPostgres

WAIT_S = 60.0


def postmasters_of(data_dir: Path) -> list[int]:
    """Live postmasters of the folder's cluster; their children do not keep the command line."""
    layout = recorded(data_dir)
    if layout is None:
        return []
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            arguments = process.cmdline()
            if "-D" in arguments and str(layout.cluster_dir) in arguments:
                found.append(process.pid)
    return found


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or dead and not reaped, as under some container's process 1."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class Daemon:
    """A supervising process and what it has said so far."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def wait_for(self, word: str) -> str:
        """The rest of the next line that starts with the word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"ended without saying {word}: {self.said}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=WAIT_S)


class StartDaemon(Protocol):
    """Starts a supervising process on the test's data folder."""

    def __call__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        python: str = sys.executable,
    ) -> Daemon: ...


@asynccontextmanager
async def embedded_in(
    data_dir: Path, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[EmbeddedPostgres]:
    """A started supervisor that is stopped at the end."""
    embedded = EmbeddedPostgres(data_dir, settings=settings)
    try:
        await embedded.start()
        yield embedded
    finally:
        await embedded.stop()


@asynccontextmanager
async def supervised(embedded: EmbeddedPostgres) -> AsyncIterator[None]:
    """Run the supervision beside the test."""
    async with asyncio.TaskGroup() as tasks:
        supervision = tasks.create_task(embedded.run())
        try:
            yield
        finally:
            supervision.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that has to come about. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def ask_value(dsn: str, query: str) -> object:
    """One value, asked over a new connection; waits while the server is coming back."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
                continue
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()
