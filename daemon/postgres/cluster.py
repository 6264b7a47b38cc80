"""A new cluster: initdb as the right account, and its name only once it is complete."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from daemon.postgres.account import Account
from daemon.postgres.binaries import Binaries
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import ADMIN_ROLE, Layout, sync_folder

INITDB_TIMEOUT_S = 120
UNFINISHED = ".unfinished-"


def child_environment() -> dict[str, str]:
    """What our programs get to see: nothing of PG*, which would redirect them."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def major_of(cluster_dir: Path) -> int | None:
    """The major version that made the cluster; None when there is none. Raises OSError."""
    try:
        return int((cluster_dir / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def create_cluster(layout: Layout, *, binaries: Binaries, account: Account) -> None:
    """Run initdb beside the final place and rename.

    Every attempt has names of its own, because the initdb of a killed daemon goes on for a while.
    Only the daemon that holds the folder's lock may call this. Raises EmbeddedUnavailable.
    """
    attempt = secrets.token_hex(4)
    unfinished = layout.home_dir / f"{UNFINISHED}{attempt}"
    password_path = layout.home_dir / f"{UNFINISHED}{attempt}-password"
    unfinished.mkdir(mode=0o700)
    account.give(unfinished)
    try:
        _write_for(account, path=password_path, text=layout.password(ADMIN_ROLE))
        _run_initdb(unfinished, binaries=binaries, account=account, password_path=password_path)
    finally:
        password_path.unlink(missing_ok=True)
    unfinished.rename(layout.cluster_dir)
    sync_folder(layout.home_dir)


def sweep_unfinished(layout: Layout) -> None:
    """Remove what attempts of killed daemons left, as far as they do not go on."""
    for left_over in layout.home_dir.glob(f"{UNFINISHED}*"):
        if left_over.is_dir():
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            left_over.unlink(missing_ok=True)


def _write_for(account: Account, *, path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    account.give(path)


def _run_initdb(folder: Path, *, binaries: Binaries, account: Account, password_path: Path) -> None:
    command = [
        str(binaries.program("initdb")),
        f"--pgdata={folder}",
        "--auth=scram-sha-256",
        f"--username={ADMIN_ROLE}",
        f"--pwfile={password_path}",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
    ]
    if binaries.major >= 17:
        # Sorts by code point like C, but knows letters beyond ASCII, on every machine alike.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd=folder.parent,
            env=child_environment(),
            timeout=INITDB_TIMEOUT_S,
            **run_as(account),
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        said = next((line for line in lines if "error" in line), lines[-1] if lines else "")
        raise EmbeddedUnavailable(f"initdb failed: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedUnavailable(f"initdb could not run: {error}") from error


def run_as(account: Account) -> dict[str, Any]:
    """Arguments for subprocess that change to the account, and to none of our other groups."""
    if not account.is_another:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
