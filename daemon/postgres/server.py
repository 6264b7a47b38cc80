"""One running postmaster, started by us or found, watched and signalled without pid races."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from collections.abc import Mapping

from daemon.postgres.account import Account
from daemon.postgres.binaries import Binaries
from daemon.postgres.cluster import child_environment, run_as
from daemon.postgres.layout import Layout
from daemon.postgres.server_log import open_log


class Server:
    """A postmaster held by a pidfd, which never comes to mean another process.

    `process` is set while it is our child, so that we reap it. Not asyncio's subprocess: its
    transport kills the child with SIGKILL when it is closed or collected.
    """

    def __init__(self, pid: int, *, pidfd: int, process: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._process = process

    @property
    def is_child(self) -> bool:
        return self._process is not None

    @property
    def is_running(self) -> bool:
        """False once it ended, also while nobody has reaped it."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    async def ended(self) -> None:
        """Return when the process has ended."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        # A descriptor of our own, because a loop knows one reader per descriptor.
        fd = os.dup(self._pidfd)
        loop.add_reader(fd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    async def has_ended_within(self, seconds: float) -> bool:
        """Wait for the end, but no longer than that."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended()
        except TimeoutError:
            return False
        return True

    def send(self, signal_number: signal.Signals) -> None:
        """Signal it; one that has ended already is fine."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal_number)
        except ProcessLookupError:
            return

    def let_go(self) -> None:
        """Forget it: reap it if it has ended, leave it running otherwise."""
        os.close(self._pidfd)
        if self._process is not None and self._process.poll() is None:
            # Left to the next daemon on purpose; Popen would warn about it.
            self._process.returncode = 0
        self._process = None


def spawn(
    layout: Layout,
    *,
    binaries: Binaries,
    account: Account,
    settings: Mapping[str, str],
    not_a_server: int | None,
) -> Server:
    """Start `postgres` as our direct child in its own session, its messages going to our log.

    `not_a_server` is the id that a stale postmaster.pid names although that process is not this
    cluster's server. PostgreSQL takes ids of its own ancestors for stale, and believes
    PG_GRANDPARENT_PID about one of them (CreateLockFile in miscinit.c; patroni #681).
    Raises OSError when the program can't be run.
    """
    environment = child_environment()
    if not_a_server is not None:
        environment["PG_GRANDPARENT_PID"] = str(not_a_server)
    command = [str(binaries.program("postgres")), "-D", str(layout.cluster_dir)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with open_log(layout.log_path) as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=layout.home_dir,
            env=environment,
            start_new_session=True,
            **run_as(account),
        )
    return Server(process.pid, pidfd=os.pidfd_open(process.pid), process=process)


def adopt(pid: int) -> Server | None:
    """Hold a postmaster that another daemon started; None when it has just ended."""
    try:
        return Server(pid, pidfd=os.pidfd_open(pid), process=None)
    except ProcessLookupError:
        return None
