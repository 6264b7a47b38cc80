"""Backup and restore of the telemetry with PostgreSQL's own programs; what a restored database has
to forget is given by the caller."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.errors import DomainError
from daemon.postgres.programs import environment_for, program_for, without_password

SCHEMA = "telemetry"
# The slowest compression is no bottleneck for the disk; this one is none for the processor.
COMPRESSION = "3"


class BackupFailed(DomainError):
    """PostgreSQL's program failed."""

    code = "backup_failed"


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and where programs of its server's version lie, if we brought them."""

    dsn: str
    server_major: int
    own_dir: Path | None

    def program(self, name: str) -> Path:
        return program_for(name, server_major=self.server_major, own_dir=self.own_dir)

    @property
    def connection(self) -> tuple[str, Mapping[str, str]]:
        """The address for an argument, and the environment with the rest."""
        address, password = without_password(self.dsn)
        return address, environment_for(password)


def dump(place: Place, file: Path) -> int:
    """Write one snapshot of everything to `file`, for its user alone; returns its size in bytes.

    Writers go on meanwhile. The file is complete or not there. Raises BackupFailed, OSError.
    """
    address, environment = place.connection
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        _run(
            [place.program("pg_dump"), "--format=custom", f"--compress={COMPRESSION}",
             f"--schema={SCHEMA}", "--no-owner", "--no-privileges", f"--file={unfinished}",
             f"--dbname={address}"],
            environment,
        )  # fmt: skip
        _make_durable(unfinished)
        unfinished.replace(file)
        _make_durable(file.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return file.stat().st_size


def restore(place: Place, file: Path, *, then: str) -> None:
    """Bring everything back in one transaction, which ends with the statements of `then`.

    Raises BackupFailed; then the database is as it was.
    """
    address, environment = place.connection
    reading = subprocess.Popen(
        [place.program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", file],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    writing = subprocess.Popen(
        [place.program("psql"), "--no-psqlrc", "--quiet", "--single-transaction",
         "--set=ON_ERROR_STOP=1", "--file=-", f"--dbname={address}"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        _pass_on(reading, writing, then=then)
    finally:
        for process in (reading, writing):
            process.kill()
            process.wait()


def _pass_on(
    reading: subprocess.Popen[bytes], writing: subprocess.Popen[bytes], *, then: str
) -> None:
    """The end of its input is what lets psql commit: it comes only after a whole backup."""
    assert reading.stdout is not None
    assert reading.stderr is not None
    assert writing.stdin is not None
    try:
        shutil.copyfileobj(reading.stdout, writing.stdin, 1 << 20)
        if reading.wait():
            raise BackupFailed(_last_line(reading.stderr.read()))
        writing.stdin.write(f"\n{then}\n".encode())
        writing.stdin.close()
    except BrokenPipeError:
        pass
    assert writing.stderr is not None
    said = writing.stderr.read()
    if writing.wait():
        raise BackupFailed(_last_line(said))


def _run(command: list[str | Path], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode:
        raise BackupFailed(_last_line(done.stderr))


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "ERROR" in line or "error:" in line]
    return (errors or lines or ["PostgreSQL's program failed"])[0]


def _make_durable(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
