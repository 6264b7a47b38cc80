"""The daemon's own short commands, as processes."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import _environment
from databases import fresh_database
from servers import PostgresServer


def telemetryd(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(home) | {f"TELEMETRY_{k.upper()}": v for k, v in settings.items()}
    return subprocess.run(
        [Path(sys.executable).parent / "telemetryd", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def with_password(dsn: str) -> str:
    return dsn.replace("tester@", "tester:s3cr%40t@")


@pytest.fixture(scope="module")
def dsn(postgres: PostgresServer) -> str:
    return asyncio.run(fresh_database(postgres))


@pytest.mark.skipif(shutil.which("psql") is None, reason="there is no psql on this host")
def test_psql_connects_and_no_password_stands_in_the_process_list(dsn: str, tmp_path: Path) -> None:
    show = "\\! tr '\\0' ' ' </proc/$PPID/cmdline"

    done = telemetryd(
        tmp_path, "db", "psql", "-c", "select 40 + 2", "-c", show,
        database__url=with_password(dsn),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout
    assert "psql" in done.stdout
    assert "s3cr" not in done.stdout


def test_the_first_key_is_printed_once(dsn: str, tmp_path: Path) -> None:
    first = telemetryd(tmp_path, "keys", "bootstrap", database__url=dsn)
    second = telemetryd(tmp_path, "keys", "bootstrap", database__url=dsn)

    assert first.returncode == 0
    assert first.stdout.startswith("tlm_")
    assert (second.returncode, second.stdout) == (5, "")
    assert "hint: " in second.stderr


def test_status_tells_of_the_database_and_no_password(dsn: str, tmp_path: Path) -> None:
    status = telemetryd(tmp_path, "db", "status", database__url=with_password(dsn))
    shown = telemetryd(tmp_path, "config", "show", database__url=with_password(dsn))

    assert "server_version\t18" in status.stdout
    assert "s3cr" not in status.stdout + shown.stdout + shown.stderr


def test_a_bad_configuration_is_78_with_the_place(tmp_path: Path) -> None:
    done = telemetryd(tmp_path, "config", "check", server__prot="1")

    assert done.returncode == 78
    assert "prot" in done.stderr
    assert "Traceback" not in done.stderr
