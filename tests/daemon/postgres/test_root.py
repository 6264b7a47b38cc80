"""Started as root: PostgreSQL runs as another account, also where that account could not go."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import psutil
import pytest
from embedded import StartDaemon, ask_value, embedded_in, has_ended, postmasters_of, until

from daemon.postgres.account import Account
from daemon.postgres.binaries import PACKAGE, Binaries, locate, reachable
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import recorded
from daemon.postgres.supervisor import EmbeddedPostgres

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture
def state_dir(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root keeps what the other account has to reach, instead of the machine's own place."""
    folder = data_dir.parent / "state"
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def private_dir(data_dir: Path) -> Path:
    """A folder like root's home: nobody else may pass."""
    folder = data_dir.parent / "private"
    folder.mkdir(mode=0o700)
    return folder


def python_for(account: Account) -> str | None:
    """This Python, or the system's of the same version, whichever the account can run."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for choice in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        program = Path(choice).resolve()
        if program.is_file() and account.can_enter(program.parent):
            return choice
    return None


@pytest.fixture
def roots_groups() -> Iterator[None]:
    """Root with a group beside its main one, as after a login."""
    before = os.getgroups()
    os.setgroups([0])
    yield
    os.setgroups(before)


@pytest.mark.usefixtures("roots_groups")
async def test_the_server_runs_unprivileged(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        server = psutil.Process(embedded.pid)

        assert server.uids().effective != 0
        assert server.gids().effective != 0
        status = Path(f"/proc/{embedded.pid}/status").read_text()
        groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
        assert groups.split()[1:] == []


async def test_a_data_folder_nobody_may_enter_works_and_keeps_its_modes(
    private_dir: Path, state_dir: Path
) -> None:
    folder = private_dir / "data"
    before = private_dir.stat().st_mode
    async with embedded_in(folder) as embedded:
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")

        assert embedded.cluster_dir.is_relative_to(state_dir)
        assert stat.S_IMODE(embedded.cluster_dir.stat().st_mode) == 0o700
    async with embedded_in(folder) as again:
        assert await ask_value(again.dsn, "select answer from kept") == 42

    assert private_dir.stat().st_mode == before
    assert postmasters_of(folder) == []


async def test_a_new_folder_of_the_same_name_does_not_find_the_old_data(
    private_dir: Path, state_dir: Path
) -> None:
    folder = private_dir / "data"
    async with embedded_in(folder) as embedded:
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")
    shutil.rmtree(folder)

    async with embedded_in(folder) as anew:
        with pytest.raises(asyncpg.UndefinedTableError):
            await ask_value(anew.dsn, "select answer from kept")


async def test_a_copy_of_a_data_folder_does_not_get_the_same_database(
    private_dir: Path, state_dir: Path
) -> None:
    folder, copy, moved = (private_dir / name for name in ("data", "copy", "moved"))
    async with embedded_in(folder) as embedded:
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")
    shutil.copytree(folder, copy)

    with pytest.raises(EmbeddedUnavailable, match="is a copy of"):
        await EmbeddedPostgres(copy).start()

    folder.rename(moved)
    async with embedded_in(moved) as embedded:
        assert await ask_value(embedded.dsn, "select answer from kept") == 42


async def test_scratch_clusters_and_their_servers_go_with_their_data_folders(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    data_dir.mkdir(mode=0o700)
    daemon = start_daemon()
    daemon.wait_for("serving")
    old = recorded(data_dir)
    assert old is not None
    (server_pid,) = postmasters_of(data_dir)
    daemon.kill()
    shutil.rmtree(data_dir)
    data_dir.mkdir(mode=0o700)

    async with embedded_in(data_dir) as second:
        pass
    # The second folder of that name has got its own; the third start finds the first left over.
    other = data_dir.with_name("other")
    other.mkdir(mode=0o700)
    async with embedded_in(other) as anew:
        await until(lambda: has_ended(server_pid))

        assert not old.cluster_dir.exists()
        assert anew.cluster_dir.exists()
    # The folder for scratch is shared with everything else that is tested as root.
    for home in (second.cluster_dir.parent, anew.cluster_dir.parent):
        shutil.rmtree(home)


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def hidden_programs(private_dir: Path) -> Binaries:
    """A copy of the installed programs where only root can go."""
    source = locate()
    hidden = Binaries(private_dir / PACKAGE / source.install_dir.name, source.major)
    shutil.copytree(source.install_dir, hidden.install_dir, symlinks=True)
    shutil.copytree(source.libraries_dir, hidden.libraries_dir, symlinks=True)
    return hidden


async def test_programs_in_a_folder_nobody_may_enter_are_copied_once(
    data_dir: Path, private_dir: Path, state_dir: Path, start_daemon: StartDaemon
) -> None:
    hidden_programs(private_dir)
    (private_dir / PACKAGE / "__init__.py").touch()
    search_path = os.pathsep.join([str(private_dir), *filter(None, sys.path)])
    environment = {"PYTHONPATH": search_path, "STATE_DIRECTORY": str(state_dir)}

    daemons = [start_daemon(environment=environment) for _ in range(2)]
    dsn = {daemon.wait_for("serving") for daemon in daemons}.pop()
    (copy,) = (state_dir / "binaries").glob("[0-9]*")

    assert await ask_value(dsn, "select 1") == 1
    program = Path(psutil.Process(*postmasters_of(data_dir)).cmdline()[0])
    assert program.is_relative_to(copy)
    assert (program.stat().st_uid, stat.S_IMODE(program.stat().st_mode)) == (0, 0o755)
    assert stat.S_IMODE(private_dir.stat().st_mode) == 0o700
    assert [daemon.leave() for daemon in daemons] == [0, 0]


def test_a_half_made_copy_is_made_anew(private_dir: Path, state_dir: Path) -> None:
    source = hidden_programs(private_dir)
    first = reachable(source, account=nobody())
    copy_dir = next((state_dir / "binaries").glob("[0-9]*"))
    half = copy_dir.rename(copy_dir.with_name(f".{copy_dir.name}"))
    shutil.rmtree(half / PACKAGE)

    again = reachable(source, account=nobody())

    assert again == first
    assert again.program("initdb").is_file()
    assert [path for path in (state_dir / "binaries").iterdir() if path.is_dir()] == [copy_dir]


async def test_root_serves_a_folder_that_another_account_made(
    data_dir: Path, start_daemon: StartDaemon
) -> None:
    account = nobody()
    python = python_for(account)
    if python is None:
        pytest.skip("the other account can reach no Python of this version")
    os.chown(data_dir.parent, account.uid, -1)
    daemon = start_daemon(
        environment={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        user=account.uid,
        python=python,
    )
    daemon.wait_for("serving")
    (server_pid,) = postmasters_of(data_dir)

    assert psutil.Process(server_pid).uids().real == account.uid
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert daemon.leave() == 0
    async with embedded_in(data_dir) as embedded:
        assert psutil.Process(embedded.pid).uids().real == account.uid
        assert await ask_value(embedded.dsn, "select 1") == 1


def test_copies_made_at_the_same_time_are_one(private_dir: Path, state_dir: Path) -> None:
    source = hidden_programs(private_dir)
    with ThreadPoolExecutor(4) as threads:
        made = set(threads.map(lambda _: reachable(source, account=nobody()), range(4)))

    (copy,) = made
    assert copy.program("initdb").is_file()
    assert len([path for path in (state_dir / "binaries").iterdir() if path.is_dir()]) == 1


async def test_two_folders_never_share_a_server(data_dir: Path) -> None:
    async with embedded_in(data_dir) as one:
        other = EmbeddedPostgres(data_dir.with_name("other"))
        await other.start()

        assert other.pid != one.pid
        assert recorded(other.cluster_dir.parent) is not None
        await other.stop()
