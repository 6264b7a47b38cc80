"""Brings a server up: makes the cluster, then adopts what runs or starts a new one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from daemon.postgres.account import Account, choose_account
from daemon.postgres.binaries import Binaries, locate, reachable
from daemon.postgres.cluster import create_cluster, major_of, sweep_unfinished
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import Layout, recorded, settle
from daemon.postgres.postmaster import is_postmaster_of, listener_of, noted_pid
from daemon.postgres.probe import Answer, ask
from daemon.postgres.server import Server, adopt, spawn
from daemon.postgres.settings import server_settings

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Launcher:
    """Everything needed to start the server; only the holder of the folder's lock may use it."""

    layout: Layout
    binaries: Binaries
    account: Account
    overrides: Mapping[str, str]

    async def launch(self) -> Server:
        """The server that runs already, or a new one. Raises EmbeddedUnavailable.

        Not in a thread: a cancellation in between would leave a server that nobody knows of.
        """
        return await find_running(self.layout) or self._spawn()

    def _spawn(self) -> Server:
        settings = {
            **server_settings(self.layout.cluster_dir, overrides=self.overrides),
            "unix_socket_directories": str(self.layout.socket_dir),
        }
        try:
            return spawn(
                self.layout,
                binaries=self.binaries,
                account=self.account,
                settings=settings,
                not_a_server=noted_pid(self.layout.cluster_dir),
            )
        except OSError as error:
            raise EmbeddedUnavailable(f"PostgreSQL could not be started: {error}") from error


def prepare(data_dir: Path, *, overrides: Mapping[str, str]) -> Launcher:
    """Decide where things lie and make what is missing; blocks for about a second the first time.

    Raises EmbeddedUnavailable, also when a cluster that was here before has gone: an empty one in
    its place would look like lost data.
    """
    if not hasattr(os, "pidfd_open"):
        raise EmbeddedUnavailable("the embedded PostgreSQL needs Linux 5.3 or newer")
    try:
        return _prepare(data_dir, overrides)
    except (OSError, ValueError) as error:
        raise EmbeddedUnavailable(f"the data folder can't be used: {error}") from error


def _prepare(data_dir: Path, overrides: Mapping[str, str]) -> Launcher:
    known = recorded(data_dir)
    account = choose_account(known.cluster_dir if known else data_dir / "cluster")
    layout = settle(data_dir, account)
    major = major_of(layout.cluster_dir)
    if known and major is None:
        raise EmbeddedUnavailable(f"the database of {data_dir} is not in {known.cluster_dir}")
    binaries = reachable(locate(major), account=account)
    layout.write_passwords()
    sweep_unfinished(layout)
    if major is None:
        create_cluster(layout, binaries=binaries, account=account)
    if layout != known:
        layout.remember()
    return Launcher(layout, binaries, account, overrides)


async def find_running(layout: Layout) -> Server | None:
    """The postmaster of this cluster if there is one, whoever started it.

    One that listens is found by its socket, whose folder only its account and root can enter;
    one that does not listen yet, or no more, by what it works on. Raises EmbeddedUnavailable when
    the one that listens serves another cluster, or can't be watched from here.
    """
    if await ask(layout) is not Answer.ABSENT:
        listener = await asyncio.to_thread(listener_of, layout.socket_path)
        if listener is not None:
            if listener.pid == 0 or listener.uid != layout.cluster_dir.stat().st_uid:
                raise EmbeddedUnavailable(
                    f"{layout.socket_path} is served from another container or account"
                )
            return adopt(listener.pid)
    pid = noted_pid(layout.cluster_dir)
    if pid is not None and is_postmaster_of(pid, layout.cluster_dir):
        return adopt(pid)
    return None


async def to_the_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; when cancelled, wait for it first, so that nothing goes on unseen."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
