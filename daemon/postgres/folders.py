"""Folders that are ours alone: a fixed owner and mode, refused when someone else made them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from daemon.postgres.account import Account
from daemon.postgres.errors import EmbeddedUnavailable

STATE_DIR = Path("/var/lib/telemetryctl")
STATE_DIR_FALLBACK = Path("/var/tmp/telemetryctl-root")


def own_folder(path: Path, *, mode: int, account: Account) -> Path:
    """Make the folder if it is missing, or check that it is a folder of that account.

    Parents are made with the usual modes when missing and never changed; a folder that exists is
    at most closed further. Raises EmbeddedUnavailable if someone else put something there first
    (the runtime folder may be open to everybody).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=mode)
        wanted = mode  # mkdir is subject to the umask
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {account.uid, os.geteuid()}:
            raise EmbeddedUnavailable(f"{path} belongs to someone else; remove it") from None
        wanted = stat.S_IMODE(found.st_mode) & mode
        if found.st_uid == account.uid and stat.S_IMODE(found.st_mode) == wanted:
            return path
    account.give(path)
    path.chmod(wanted)
    return path


def state_folder(data_dir: Path, account: Account) -> Path:
    """Where root keeps what another account must reach when it can't reach `data_dir`.

    A data folder under the temporary folder is scratch, so what belongs to it is scratch, too.
    """
    root = Account(os.geteuid(), os.getegid())
    scratch = Path(tempfile.gettempdir()).resolve()
    choices = [STATE_DIR, STATE_DIR_FALLBACK]
    if data_dir.is_relative_to(scratch):
        choices.insert(0, scratch / "telemetryctl-root")
    for choice in choices:
        try:
            own_folder(choice, mode=0o755, account=root)
        except (OSError, EmbeddedUnavailable):
            continue
        if account.can_enter(choice):
            return choice
    raise EmbeddedUnavailable(
        f"the account that runs PostgreSQL (uid {account.uid}) can reach none of "
        f"{', '.join(map(str, choices))}"
    )


def runtime_folder(account: Account) -> Path:
    """A short folder of mode 0700 that only this account can enter, for sockets."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    choices = [Path(named)] if named and not account.is_another else []
    choices += [Path("/run"), Path("/tmp")]
    for choice in choices:
        if choice.is_dir() and os.access(choice, os.W_OK | os.X_OK) and account.can_enter(choice):
            folder = choice / f"telemetryctl-{account.uid}"
            return own_folder(folder, mode=0o700, account=account)
    raise EmbeddedUnavailable("there is no folder for the database socket; set XDG_RUNTIME_DIR")
