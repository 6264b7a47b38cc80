"""Who can reach the embedded database: the application's role, and nobody else on the machine."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
from embedded import embedded_in

pytestmark = pytest.mark.anyio


def modes_above(folder: Path) -> dict[str, int]:
    return {str(parent): parent.stat().st_mode for parent in folder.parents}


async def test_modes_of_the_folders_above_stay_as_they_were(data_dir: Path) -> None:
    before = modes_above(data_dir)
    async with embedded_in(data_dir) as embedded:
        socket_dir = Path(parse_qs(urlsplit(embedded.dsn).query)["host"][0])

        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(embedded.cluster_dir.stat().st_mode) == 0o700

    assert modes_above(data_dir) == before


async def test_passwords_are_in_files_of_the_owner_and_nowhere_else(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        files = [data_dir / "telemetry.pgpass", data_dir / "telemetry_admin.pgpass"]
        passwords = [file.read_text().strip().rpartition(":")[2] for file in files]
        arguments = " ".join(psutil.Process(embedded.pid).cmdline())
        log = embedded.log_path.read_text()
        shown = "\n".join([embedded.dsn, embedded.admin_dsn, arguments, log])

        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
        assert [len(password) for password in passwords] == [43, 43]
        assert [password in shown for password in passwords] == [False, False]


async def test_a_wrong_or_missing_password_is_refused(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        for query in ("&passfile=/nonexistent", "&password=wrong"):
            dsn = embedded.dsn.partition("&passfile=")[0] + query
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(dsn)


async def test_nothing_listens_on_the_network(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        log = embedded.log_path.read_text().splitlines()
        listening = [line for line in log if "listening on" in line]

        assert len(listening) == 1
        assert "Unix socket" in listening[0]


async def test_the_application_role_can_not_leave_its_database(data_dir: Path) -> None:
    attempts = [
        "copy (select 1) to program 'true'",
        "create temp table t (line text); copy t from '/etc/passwd'",
        "create role intruder",
        "create database elsewhere",
        "alter system set fsync = off",
        "select pg_read_file('/etc/passwd')",
    ]
    async with embedded_in(data_dir) as embedded:
        connection = await asyncpg.connect(embedded.dsn)
        for attempt in attempts:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)
        await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another account")
async def test_another_account_can_not_connect(data_dir: Path) -> None:
    async with embedded_in(data_dir) as embedded:
        path = parse_qs(urlsplit(embedded.dsn).query)["host"][0] + "/.s.PGSQL.5432"
        with socket.socket(socket.AF_UNIX) as client:
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
            try:
                with pytest.raises(PermissionError):
                    client.connect(path)
            finally:
                os.seteuid(0)
            client.connect(path)
