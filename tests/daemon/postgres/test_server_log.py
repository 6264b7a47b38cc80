"""The server's log stays bounded, and yields the reason of a failed start."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from daemon.postgres import server_log
from daemon.postgres.server_log import last_complaint, open_log, trim_log

STARTED = "2026-11-21 12:00:00.000 UTC [7] 00000 LOG:  starting PostgreSQL 18.4\n"
REFUSED = "2026-11-21 12:00:01.000 UTC [8] 28P01 eve@telemetry x FATAL:  password failed\n"
BROKEN = '2026-11-21 12:00:02.000 UTC [7] XX000 FATAL:  lock file "postmaster.pid" exists\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postgres.log"


def test_a_log_over_its_bound_moves_aside_and_is_written_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_log, "LOG_BYTES_MAX", 10)
    with open_log(path) as log:
        log.write(b"more than ten bytes\n")
        trim_log(path)
        log.write(b"next\n")

    kept = path.with_name("postgres.log.1")
    assert path.read_bytes() == b"next\n"
    assert kept.read_bytes() == b"more than ten bytes\n"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, kept)] == [0o600, 0o600]


def test_a_log_within_its_bound_stays(path: Path) -> None:
    path.write_text(STARTED)
    trim_log(path)

    assert path.read_text() == STARTED


def test_the_newest_complaint_of_the_server_is_found(path: Path) -> None:
    path.write_text(STARTED + BROKEN + REFUSED)

    assert last_complaint(path) == 'lock file "postmaster.pid" exists'


def test_complaints_of_sessions_and_of_earlier_starts_do_not_count(path: Path) -> None:
    path.write_text(BROKEN + STARTED + REFUSED)

    assert last_complaint(path) == ""


def test_without_a_log_there_is_no_complaint(path: Path) -> None:
    assert last_complaint(path) == ""
