"""One supervisor over one folder: start, settings, restart, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
from embedded import ask_value, embedded_in, postmasters_of, supervised, until

from daemon.postgres import supervisor
from daemon.postgres.account import choose_account
from daemon.postgres.cluster import run_as
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.supervisor import EmbeddedPostgres

pytestmark = pytest.mark.anyio


async def test_the_first_start_makes_a_database_the_application_owns(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        connection = await asyncpg.connect(embedded.dsn)
        row = await connection.fetchrow(
            "select current_user as who, current_database() as place, "
            "pg_get_userbyid(datdba) as owner from pg_database where datname = current_database()"
        )
        await connection.execute("create schema telemetry")
        await connection.close()

        assert row is not None
        assert tuple(row) == ("telemetry", "telemetry", "telemetry")
        assert embedded.state == "running"
        assert postmasters_of(data_dir) == [embedded.pid]


async def test_a_stop_leaves_no_process_and_the_next_start_finds_the_data(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")
        dsn = embedded.dsn

    assert postmasters_of(data_dir) == []
    assert embedded.state == "stopped"
    async with embedded_in(data_dir) as again:
        assert again.dsn == dsn
        assert await ask_value(again.dsn, "select answer from kept") == 42


async def test_the_server_is_told_to_be_durable_and_deaf_to_the_network(data_dir: Path) -> None:
    wanted = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_compression": "pglz",
        "jit": "off",
        "listen_addresses": "",
        "client_connection_check_interval": "1s",
        "idle_in_transaction_session_timeout": "1min",
        "temp_file_limit": "4GB",
        "log_min_error_statement": "error",
        "max_connections": "100",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }

    async with embedded_in(data_dir) as embedded:
        found = {name: await ask_value(embedded.admin_dsn, f"show {name}") for name in wanted}

        assert found == wanted


async def test_a_password_in_the_environment_does_not_get_in_the_way(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "of another database")
    async with embedded_in(data_dir) as embedded:
        assert await ask_value(embedded.dsn, "select 1") == 1


async def test_settings_given_win_over_ours(data_dir: Path) -> None:
    async with embedded_in(data_dir, settings={"shared_buffers": "24MB"}) as embedded:
        assert await ask_value(embedded.dsn, "show shared_buffers") == "24MB"


async def test_a_killed_server_comes_back_with_what_was_committed(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded, supervised(embedded):
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")
        before = embedded.pid
        assert before is not None

        os.kill(before, signal.SIGKILL)
        await until(lambda: embedded.state == "running" and embedded.pid not in {None, before})

        assert await ask_value(embedded.dsn, "select answer from kept") == 42
        assert postmasters_of(data_dir) == [embedded.pid]


async def test_a_server_that_keeps_dying_is_reported_and_restarted_slowly(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine five starts take longer than the minute that counts.
    monkeypatch.setattr(supervisor, "DEATHS_WINDOW_S", 600.0)
    async with embedded_in(data_dir) as embedded, supervised(embedded):
        for _ in range(5):
            await until(lambda: embedded.state == "running" and embedded.pid is not None)
            assert embedded.pid is not None
            os.kill(embedded.pid, signal.SIGKILL)
            await until(lambda: embedded.pid is None)

        await until(lambda: embedded.state == "degraded")


async def test_a_server_whose_socket_was_removed_is_restarted(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CHECK_INTERVAL_S", 0.1)
    async with embedded_in(data_dir) as embedded, supervised(embedded):
        before = embedded.pid
        (data_dir / "run" / ".s.PGSQL.5432").unlink()
        await until(lambda: embedded.pid not in {before, None} and embedded.state == "running")

        assert await ask_value(embedded.dsn, "select 1") == 1
        assert postmasters_of(data_dir) == [embedded.pid]


async def test_a_server_that_does_not_stop_in_time_is_stopped_immediately(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FAST_STOP_WAIT_S", 0.5)
    async with embedded_in(data_dir) as embedded:
        await until(lambda: checkpointer_of(embedded) is not None)
        checkpointer = checkpointer_of(embedded)
        assert checkpointer is not None
        # A fast stop waits for the last checkpoint, which never comes now.
        checkpointer.suspend()

    assert postmasters_of(data_dir) == []
    async with embedded_in(data_dir) as again:
        assert await ask_value(again.dsn, "select 1") == 1


def checkpointer_of(embedded: EmbeddedPostgres) -> psutil.Process | None:
    """Once it is called so; others of the server's children come and go."""
    for child in psutil.Process(embedded.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "checkpointer" in "".join(child.cmdline()):
                return child
    return None


async def test_a_start_that_can_not_succeed_says_why(data_dir: Path) -> None:
    embedded = EmbeddedPostgres(data_dir, settings={"shared_buffers": "nonsense"})

    with pytest.raises(EmbeddedUnavailable, match='invalid value for parameter "shared_buffers"'):
        await embedded.start()
    await embedded.stop()

    assert postmasters_of(data_dir) == []


async def test_a_database_that_has_gone_is_not_replaced_by_an_empty_one(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        cluster_dir = embedded.cluster_dir
    cluster_dir.rename(cluster_dir.with_name("elsewhere"))

    with pytest.raises(EmbeddedUnavailable, match="is not in"):
        await EmbeddedPostgres(data_dir).start()

    assert not cluster_dir.exists()


async def test_what_a_killed_initdb_left_is_swept(data_dir: Path) -> None:
    unfinished = data_dir / ".unfinished-1234"
    unfinished.mkdir(parents=True)
    data_dir.chmod(0o711)
    (unfinished / "PG_VERSION").write_text("18\n")

    async with embedded_in(data_dir) as embedded:
        assert await ask_value(embedded.dsn, "select 1") == 1

    assert not unfinished.exists()


async def test_a_moved_data_folder_still_works(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        await ask_value(embedded.dsn, "create table kept as select 42 as answer")
    moved = data_dir.rename(data_dir.with_name("moved, with a comma"))

    async with embedded_in(data_dir) as anew, embedded_in(moved) as embedded:
        assert await ask_value(embedded.dsn, "select answer from kept") == 42
        assert anew.pid != embedded.pid


async def test_a_long_path_gets_a_short_socket_folder(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o711)

    async with embedded_in(data_dir / ("long-" * 20) / "data") as embedded:
        assert await ask_value(embedded.dsn, "select 1") == 1


class TestStalePidFile:
    async def test_a_foreign_process_it_names_is_left_alone(self, data_dir: Path) -> None:
        async with embedded_in(data_dir) as embedded:
            pid_file = embedded.cluster_dir / "postmaster.pid"
            lines = pid_file.read_text().splitlines()
        account = choose_account(embedded.cluster_dir)
        # Of the same account: PostgreSQL takes a process it may not signal for stale by itself.
        with subprocess.Popen(["sleep", "60"], cwd="/", **run_as(account)) as foreign:
            pid_file.write_text("\n".join([str(foreign.pid), *lines[1:]]) + "\n")
            account.give(pid_file)

            async with embedded_in(data_dir) as again:
                assert await ask_value(again.dsn, "select 1") == 1
                assert again.pid != foreign.pid
                assert postmasters_of(data_dir) == [again.pid]

            assert foreign.poll() is None
            foreign.kill()


# Every call of restore_command takes its time once, so recovery as a whole does.
SLOW_RECOVERY_S = 10.5


@pytest.fixture
async def recovering_settings(data_dir: Path) -> dict[str, str]:
    """A cluster in archive recovery whose archive is slow, and the settings that make it so."""
    async with embedded_in(data_dir) as embedded:
        cluster_dir = embedded.cluster_dir
    (cluster_dir / "recovery.signal").touch()
    choose_account(cluster_dir).give(cluster_dir / "recovery.signal")
    command = f"test -e asked || {{ touch asked; sleep {SLOW_RECOVERY_S}; }}; false"
    return {"restore_command": command, "hot_standby": "off"}


class TestRecovery:
    async def test_may_take_longer_than_ten_seconds(
        self, data_dir: Path, recovering_settings: dict[str, str]
    ) -> None:
        embedded = EmbeddedPostgres(data_dir, settings=recovering_settings)
        started_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(embedded.start())
            await until(lambda: embedded.state == "recovering")

        assert asyncio.get_running_loop().time() - started_at > SLOW_RECOVERY_S
        assert embedded.state == "running"
        assert await ask_value(embedded.dsn, "select 1") == 1
        await embedded.stop()

    async def test_can_be_stopped(
        self, data_dir: Path, recovering_settings: dict[str, str]
    ) -> None:
        embedded = EmbeddedPostgres(data_dir, settings=recovering_settings)
        async with asyncio.TaskGroup() as tasks:
            start = tasks.create_task(embedded.start())
            await until(lambda: embedded.state == "recovering")
            start.cancel()
        await embedded.stop()

        assert postmasters_of(data_dir) == []
