"""Several daemons on one folder: one server, whoever of them dies or leaves."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from embedded import StartDaemon, ask_value, embedded_in, postmasters_of, supervised, until

from daemon.postgres.locks import FileLock
from daemon.postgres.supervisor import EmbeddedPostgres

pytestmark = pytest.mark.anyio


async def test_daemons_that_start_together_share_one_server(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    daemons = [start_daemon() for _ in range(3)]
    dsns = {daemon.wait_for("serving") for daemon in daemons}

    assert len(dsns) == 1
    assert await ask_value(dsns.pop(), "select 1") == 1
    assert len(postmasters_of(data_dir)) == 1
    assert [daemon.leave() for daemon in daemons] == [0, 0, 0]
    assert postmasters_of(data_dir) == []


async def test_a_second_supervisor_joins_and_leaves_the_server_alone(data_dir: Path) -> None:
    async with embedded_in(data_dir) as first:
        async with embedded_in(data_dir) as second:
            assert (second.state, second.pid, second.dsn) == ("shared", first.pid, first.dsn)
            assert await ask_value(second.dsn, "select 1") == 1

        assert postmasters_of(data_dir) == [first.pid]
        assert await ask_value(first.dsn, "select 1") == 1


class TestOwnerKilled:
    async def test_another_daemon_takes_over_the_running_server(
        self, data_dir: Path, start_daemon: StartDaemon
    ) -> None:
        owner = start_daemon()
        owner.wait_for("serving")
        async with embedded_in(data_dir) as heir, supervised(heir):
            server_pid = heir.pid
            owner.kill()
            await until(lambda: heir.state == "running")

            assert heir.pid == server_pid
            assert await ask_value(heir.dsn, "select 1") == 1

        assert postmasters_of(data_dir) == []

    async def test_its_heir_restarts_the_server_when_that_dies_later(
        self, data_dir: Path, start_daemon: StartDaemon
    ) -> None:
        owner = start_daemon()
        owner.wait_for("serving")
        async with embedded_in(data_dir) as heir, supervised(heir):
            owner.kill()
            await until(lambda: heir.state == "running")
            orphan = heir.pid
            assert orphan is not None
            os.kill(orphan, signal.SIGKILL)
            await until(lambda: heir.pid not in {orphan, None} and heir.state == "running")

            assert await ask_value(heir.dsn, "select 1") == 1
            assert postmasters_of(data_dir) == [heir.pid]

    async def test_the_next_daemon_adopts_what_still_runs(
        self, data_dir: Path, start_daemon: StartDaemon
    ) -> None:
        owner = start_daemon()
        owner.wait_for("serving")
        owner.kill()
        orphans = postmasters_of(data_dir)

        async with embedded_in(data_dir) as heir:
            assert [heir.pid] == orphans
            assert await ask_value(heir.dsn, "select 1") == 1

        assert postmasters_of(data_dir) == []

    async def test_a_daemon_that_only_joined_stops_the_server_when_it_leaves(
        self, data_dir: Path, start_daemon: StartDaemon
    ) -> None:
        owner = start_daemon()
        owner.wait_for("serving")
        async with embedded_in(data_dir):
            # Without run(), so nobody has taken over yet.
            owner.kill()

        assert postmasters_of(data_dir) == []


async def test_a_dead_server_that_nobody_reaps_is_replaced(data_dir: Path) -> None:
    owner = EmbeddedPostgres(data_dir)
    await owner.start()
    async with embedded_in(data_dir) as heir:
        await owner.stop()
        async with supervised(heir):
            await until(lambda: heir.state == "running")
            orphan = heir.pid
            assert orphan is not None
            # As under a process 1 that does not reap: it stays a zombie, which looks alive to
            # kill(pid, 0), and whose id stands in postmaster.pid.
            os.kill(orphan, signal.SIGKILL)
            await until(lambda: heir.pid not in {orphan, None} and heir.state == "running")

            assert psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE
            assert await ask_value(heir.dsn, "select 1") == 1
        os.waitpid(orphan, 0)


async def test_owner_and_server_killed_together_are_replaced(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    owner = start_daemon()
    owner.wait_for("serving")
    async with embedded_in(data_dir) as heir, supervised(heir):
        await ask_value(heir.dsn, "create table kept as select 42 as answer")
        before = heir.pid
        assert before is not None
        owner.process.kill()
        os.kill(before, signal.SIGKILL)
        owner.kill()

        assert await ask_value(heir.dsn, "select answer from kept") == 42
        await until(lambda: heir.state == "running")
        assert postmasters_of(data_dir) == [heir.pid]
        assert heir.pid != before


async def test_a_daemon_killed_in_its_first_start_is_followed_by_one_that_serves(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    # Who looks late finds the server itself; then that is what goes on.
    await until(
        lambda: any(data_dir.glob(".unfinished-*/base/1")) or bool(postmasters_of(data_dir))
    )
    # Its initdb goes on behind the back of the next one.
    daemon.kill()

    async with embedded_in(data_dir) as embedded:
        assert await ask_value(embedded.dsn, "select 1") == 1
        assert postmasters_of(data_dir) == [embedded.pid]


async def test_an_owner_that_leaves_hands_the_server_over(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    owner = start_daemon()
    owner.wait_for("serving")
    async with embedded_in(data_dir) as heir, supervised(heir):
        server_pid = heir.pid
        assert owner.leave() == 0
        await until(lambda: heir.state == "running")

        assert heir.pid == server_pid

    assert postmasters_of(data_dir) == []


async def test_a_daemon_that_exits_at_once_stops_a_server_nobody_shares(
    data_dir: Path,
) -> None:
    async with embedded_in(data_dir) as only:
        only.abandon()
        await until(lambda: postmasters_of(data_dir) == [])

    async with embedded_in(data_dir) as one, embedded_in(data_dir) as other:
        one.abandon()
        await asyncio.sleep(0.5)

        assert await ask_value(other.dsn, "select 1") == 1


async def test_daemons_that_leave_at_once_leave_nothing_running(data_dir: Path) -> None:
    for _ in range(5):
        daemons = [EmbeddedPostgres(data_dir) for _ in range(3)]
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await asyncio.gather(*(daemon.stop() for daemon in daemons))

        assert postmasters_of(data_dir) == []


async def test_a_daemon_that_leaves_during_a_hand_over_leaves_nothing_running(
    data_dir: Path,
) -> None:
    other = FileLock(data_dir / "members.lock")

    def leave(event: str, **_: object) -> None:
        # The other one has just found the owner's lock still held, so it stops nothing.
        if event == "embedded_handed_over":
            other.release()

    owner = EmbeddedPostgres(data_dir, log=leave)
    await owner.start()
    assert other.share()
    await owner.stop()

    assert postmasters_of(data_dir) == []


async def test_a_start_during_the_stop_of_another_waits_and_serves(data_dir: Path) -> None:
    async with embedded_in(data_dir) as first:
        second = EmbeddedPostgres(data_dir)
        await asyncio.gather(first.stop(), second.start())

        assert await ask_value(second.dsn, "select 1") == 1
        assert postmasters_of(data_dir) == [second.pid]
        await second.stop()


async def test_the_server_is_in_a_session_of_its_own(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    daemon.wait_for("serving")
    (server_pid,) = postmasters_of(data_dir)

    assert psutil.Process(server_pid).ppid() == daemon.process.pid
    assert os.getsid(server_pid) == server_pid
