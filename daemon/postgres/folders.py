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


def scratch_folder(data_dir: Path) -> Path | None:
    """For a data folder under the temporary folder, the scratch place for what belongs to it."""
    temporary = Path(tempfile.gettempdir()).resolve()
    return temporary / "telemetryctl-root" if data_dir.is_relative_to(temporary) else None


def state_folder(account: Account, *, preferred: Path | None = None) -> Path:
    """Where root keeps what another account must reach: $STATE_DIRECTORY of systemd, or ours."""
    root = Account(os.geteuid(), os.getegid())
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    wanted = [Path(given) if given else None, preferred, STATE_DIR, STATE_DIR_FALLBACK]
    choices = [choice for choice in wanted if choice is not None]
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
