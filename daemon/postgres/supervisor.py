"""The embedded PostgreSQL: started, joined, restarted, stopped; shared by a folder's daemons."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.domain.errors import DomainError
from daemon.postgres.binaries import locate
from daemon.postgres.cluster import major_of
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.launcher import Launcher, find_running, prepare, to_the_end
from daemon.postgres.layout import ADMIN_ROLE, APP_ROLE, DATABASE, Layout, open_data_dir, recorded
from daemon.postgres.locks import FileLock
from daemon.postgres.postmaster import listener_of
from daemon.postgres.probe import Answer, ask
from daemon.postgres.roles import ensure_application, is_application_made
from daemon.postgres.server import Server
from daemon.postgres.server_log import last_complaint, trim_log

# Crash recovery of a bounded WAL takes seconds to minutes; after this, start() gives up.
READY_WAIT_S = 300.0
POLL_S = 0.03
LOCK_POLL_S = 0.25
CHECK_INTERVAL_S = 5.0
# So many checks without an answer in a row are reported; without a socket, the server is restarted.
MISSED_CHECKS_MAX = 3
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 10.0
# So many deaths within the window mean that restarting does not help: slow, and loud.
DEATHS_MAX = 5
DEATHS_WINDOW_S = 60.0
START_ATTEMPTS_MAX = 4
FAST_STOP_WAIT_S = 60.0
IMMEDIATE_STOP_WAIT_S = 10.0


class EmbeddedPostgres:
    """One embedded PostgreSQL server over a data folder; shared by every daemon on that folder.

    The daemon that holds `supervisor.lock` owns the server: it starts it, restarts it and stops
    it. The others use it and wait for the lock. `members.lock` is shared by all of them, so that
    an owner that leaves knows whether to stop the server or to leave it to the next.

    `settings` go to the server over ours; `log` gets an event name and fields.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        log: Callable[..., None] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._log: Callable[..., None] = log or (lambda *_, **__: None)
        self._overrides = dict(settings or {})
        self._state = "stopped"
        self._layout: Layout | None = None
        self._launcher: Launcher | None = None
        self._server: Server | None = None
        self._shared_pid: int | None = None
        self._owner: FileLock | None = None
        self._members: FileLock | None = None
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)

    @property
    def dsn(self) -> str:
        """How to connect as the application's role; names the password's file, not the password."""
        return self._known_layout.dsn(APP_ROLE, DATABASE)

    @property
    def admin_dsn(self) -> str:
        """The same as superuser, for backups, tests and operators; the daemon serves without it."""
        return self._known_layout.dsn(ADMIN_ROLE, DATABASE)

    @property
    def state(self) -> str:
        """starting, recovering, running, restarting, degraded, stopped, or shared."""
        return self._state

    @property
    def pid(self) -> int | None:
        """The postmaster; None while none is known."""
        return self._server.pid if self._server else self._shared_pid

    @property
    def cluster_dir(self) -> Path:
        """PGDATA, for backups and messages."""
        return self._known_layout.cluster_dir

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._known_layout.log_path

    @property
    def binaries_dir(self) -> Path:
        """The folder of pg_dump, psql and their like, of the server's version."""
        return locate(major_of(self.cluster_dir)).program("psql").parent

    @property
    def _known_layout(self) -> Layout:
        if self._layout is None:
            raise EmbeddedUnavailable("the embedded PostgreSQL has not been started")
        return self._layout

    async def start(self) -> None:
        """Start the server, adopt a running one, or join another daemon's; then it answers.

        Makes the cluster on first use. Waits for crash recovery up to READY_WAIT_S. Raises
        EmbeddedUnavailable; call stop() after that, too.
        """
        self._state = "starting"
        # It would win over the password file of our DSN, in asyncpg and in libpq.
        os.environ.pop("PGPASSWORD", None)
        try:
            self._data_dir = await to_the_end(open_data_dir, self._data_dir)
            self._owner = FileLock(self._data_dir / "supervisor.lock")
            self._members = FileLock(self._data_dir / "members.lock")
            await self._own_or_join(asyncio.get_running_loop().time() + READY_WAIT_S)
        except OSError as error:
            raise EmbeddedUnavailable(f"{self._data_dir} can't be used: {error}") from error

    async def run(self) -> None:
        """Keep the server up until cancelled; without the lock, wait for it and take over."""
        if self._owner is None:
            raise EmbeddedUnavailable("start() comes before run()")
        while True:
            try:
                if not self._owner.is_held:
                    await self._follow(self._owner)
                if self._server is None:
                    await self._restart()
                else:
                    await self._watch(self._server)
            except (DomainError, OSError) as error:
                self._log("embedded_failed", severity="error", error=str(error))
                await self._back_off()

    async def stop(self) -> None:
        """Leave; the last daemon stops the server, fast, and after 60 s immediately."""
        owner, members = self._owner, self._members
        if owner is None or members is None:
            return
        # First we are no member any more, then we look at the lock; an owner does it the other
        # way round. So of two that leave at once, at least one sees that it is the last.
        members.release()
        try:
            if (owner.is_held or owner.take()) and await self._is_last(owner, members):
                await self._end()
        finally:
            self._let_go()
            self._shared_pid = None
            members.release()
            owner.release()
            self._owner, self._members = None, None
            self._state = "stopped"

    def abandon(self) -> None:
        """Tell the server to stop and do not wait, for a process that is about to exit at once.

        Like stop(), this leaves it to the other daemons if there are any. Call nothing after it.
        """
        if self._server is None or self._members is None:
            return
        self._members.release()
        if self._members.take():
            self._server.send(signal.SIGINT)

    async def _own_or_join(self, deadline_s: float) -> None:
        owner, members = self._locks()
        while not await self._is_own_or_joined(owner, members, deadline_s):
            if asyncio.get_running_loop().time() > deadline_s:
                raise EmbeddedUnavailable(
                    f"another daemon holds {self._data_dir}, and its server does not answer"
                )
            await asyncio.sleep(POLL_S)

    async def _is_own_or_joined(
        self, owner: FileLock, members: FileLock, deadline_s: float
    ) -> bool:
        # The last daemon to leave holds the members' lock alone until the server has stopped.
        if not members.share():
            return False
        if not owner.take():
            return await self._is_joined()
        self._launcher = await to_the_end(prepare, self._data_dir, overrides=self._overrides)
        self._layout = self._launcher.layout
        for attempt in range(START_ATTEMPTS_MAX):
            # The first try may fail while processes of a killed server or daemon linger.
            await asyncio.sleep(BACKOFF_MIN_S * attempt**2)
            try:
                if await self._is_brought_up(self._launcher, deadline_s):
                    return True
            except EmbeddedUnavailable:
                if attempt + 1 == START_ATTEMPTS_MAX:
                    raise
        raise EmbeddedUnavailable(
            f"PostgreSQL ends right after its start: {last_complaint(self._layout.log_path)}"
        )

    async def _is_joined(self) -> bool:
        layout = recorded(self._data_dir)
        if layout is None or await ask(layout) is not Answer.READY:
            return False
        if not await is_application_made(layout):
            return False
        self._layout = layout
        listener = await asyncio.to_thread(listener_of, layout.socket_path)
        self._shared_pid = listener.pid if listener else None
        self._become("shared")
        return True

    async def _is_brought_up(self, launcher: Launcher, deadline_s: float) -> bool:
        if self._server is None:
            self._server = await launcher.launch()
            is_adopted = not self._server.is_child
            self._log("embedded_launched", pid=self._server.pid, is_adopted=is_adopted)
        server = self._server
        if await self._is_ready(server, launcher.layout, deadline_s):
            await ensure_application(launcher.layout)
            self._become("running")
            return True
        self._let_go()
        return False

    async def _is_ready(self, server: Server, layout: Layout, deadline_s: float) -> bool:
        """Wait until it answers; False when it ended. Raises EmbeddedUnavailable when late."""
        while server.is_running:
            answer = await ask(layout)
            if answer is Answer.READY:
                return True
            if answer is Answer.NOT_YET and self._state != "degraded":
                self._become("recovering")
            if asyncio.get_running_loop().time() > deadline_s:
                raise EmbeddedUnavailable(
                    f"PostgreSQL does not answer after {READY_WAIT_S:.0f} s: "
                    f"{last_complaint(layout.log_path)}"
                )
            await server.has_ended_within(POLL_S)
        return False

    async def _follow(self, owner: FileLock) -> None:
        """Use another daemon's server until the lock is free, and take it."""
        loop = asyncio.get_running_loop()
        check_at_s = loop.time() + CHECK_INTERVAL_S
        while not owner.take():
            if loop.time() > check_at_s:
                if not await self._is_joined():
                    self._become("restarting")
                check_at_s = loop.time() + CHECK_INTERVAL_S
            await asyncio.sleep(LOCK_POLL_S)
        self._log("embedded_taken_over")

    async def _restart(self) -> None:
        """Bring the server up again; a failure counts like a death."""
        if self._launcher is None:
            self._launcher = await to_the_end(prepare, self._data_dir, overrides=self._overrides)
            self._layout = self._launcher.layout
        deadline_s = asyncio.get_running_loop().time() + READY_WAIT_S
        if not await self._is_brought_up(self._launcher, deadline_s):
            complaint = last_complaint(self._launcher.layout.log_path)
            self._log("embedded_did_not_start", severity="error", complaint=complaint)
            await self._back_off()

    async def _watch(self, server: Server) -> None:
        """Return when the server has ended and the pause before its restart is over."""
        layout = self._known_layout
        missed = 0
        while not await server.has_ended_within(CHECK_INTERVAL_S):
            await asyncio.to_thread(trim_log, layout.log_path)
            answer = await ask(layout)
            missed = 0 if answer in {Answer.READY, Answer.NOT_YET} else missed + 1
            if missed >= MISSED_CHECKS_MAX:
                self._log("embedded_unresponsive", severity="error", answer=str(answer))
                self._become("degraded")
                if answer is Answer.ABSENT:
                    # Someone removed the socket; only a new start makes it again.
                    server.send(signal.SIGINT)
            elif answer in {Answer.READY, Answer.NOT_YET}:
                # Not yet, although it was: one of its processes crashed, and it recovers by itself.
                self._become("running" if answer is Answer.READY else "recovering")
        complaint = last_complaint(layout.log_path)
        self._log("embedded_died", severity="error", pid=server.pid, complaint=complaint)
        self._let_go()
        await self._back_off()

    async def _back_off(self) -> None:
        """Note a death and wait: longer with every death of the last minute."""
        now_s = asyncio.get_running_loop().time()
        self._deaths.append(now_s)
        recent = sum(1 for at_s in self._deaths if now_s - at_s < DEATHS_WINDOW_S)
        if recent >= DEATHS_MAX:
            self._become("degraded")
            self._log("embedded_degraded", severity="critical", deaths=recent)
            await asyncio.sleep(BACKOFF_MAX_S)
            return
        self._become("restarting")
        await asyncio.sleep(BACKOFF_MIN_S * 2 ** (recent - 1))

    async def _is_last(self, owner: FileLock, members: FileLock) -> bool:
        """Whether we have to stop the server; otherwise it is left running to the other daemons."""
        if members.take():
            return True
        self._log("embedded_handed_over", pid=self.pid)
        self._let_go()
        owner.release()
        # The others may have left meanwhile, and have seen our lock still held.
        return members.take() and owner.take()

    async def _end(self) -> None:
        layout = self._layout or recorded(self._data_dir)
        if self._server is None and layout is not None:
            # Its owner died, or we have handed it over and got it back.
            self._server = await find_running(layout)
        if self._server is None:
            return
        self._server.send(signal.SIGINT)
        if await self._server.has_ended_within(FAST_STOP_WAIT_S):
            return
        # Safe: the next start recovers from the WAL.
        self._log("embedded_stopped_immediately", severity="error", pid=self._server.pid)
        self._server.send(signal.SIGQUIT)
        if not await self._server.has_ended_within(IMMEDIATE_STOP_WAIT_S):
            self._log("embedded_does_not_stop", severity="critical", pid=self._server.pid)

    def _let_go(self) -> None:
        if self._server is not None:
            self._server.let_go()
        self._server = None

    def _locks(self) -> tuple[FileLock, FileLock]:
        if self._owner is None or self._members is None:
            raise EmbeddedUnavailable("the embedded PostgreSQL has not been started")
        return self._owner, self._members

    def _become(self, state: str) -> None:
        if state != self._state:
            self._log("embedded_state", state=state, before=self._state, pid=self.pid)
            self._state = state
