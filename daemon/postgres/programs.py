"""PostgreSQL's own programs for a database: which to run, and what to tell them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from daemon.domain.errors import StoreUnavailable
from daemon.postgres.binaries import locate
from daemon.postgres.errors import BinariesMissing

DEBIAN = Path("/usr/lib/postgresql")


def program_for(name: str, *, server_major: int, own_dir: Path | None = None) -> Path:
    """The program of `own_dir`, else one of this host that is not older than the server.

    The server's own version is preferred, then the oldest of the newer ones. Raises
    StoreUnavailable when there is none.
    """
    if own_dir is not None and (own_dir / name).is_file():
        return own_dir / name
    found = [(major, path) for path in _candidates(name) if (major := _major_of(path))]
    fitting = sorted(one for one in found if one[0] >= server_major)
    if not fitting:
        raise StoreUnavailable(f"there is no {name} of PostgreSQL {server_major} on this host")
    return fitting[0][1]


def _candidates(name: str) -> list[Path]:
    found = list(DEBIAN.glob(f"*/bin/{name}"))
    on_path = shutil.which(name)
    if on_path:
        found.append(Path(on_path))
    with contextlib.suppress(BinariesMissing):
        found.append(locate().program(name))
    return [path for path in found if path.is_file()]


def _major_of(program: Path) -> int | None:
    """As in `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    number = words[2].partition(".")[0] if len(words) > 2 else ""
    return int(number) if number.isdigit() else None


def without_password(dsn: str) -> tuple[str, str]:
    """The address without its password, and the password."""
    parts = urlsplit(dsn)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    if not password:
        return dsn, ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}@{host}").geturl(), unquote(password)


def environment_for(password: str) -> Mapping[str, str]:
    """Arguments stand in the process list, the environment does not."""
    return os.environ | ({"PGPASSWORD": password} if password else {})
