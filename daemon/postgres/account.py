"""The system account PostgreSQL runs as, and which folders that account can enter."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from daemon.postgres.errors import EmbeddedUnavailable

OWN_NAME = "telemetry"
USERADD_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Account:
    """A user id and its main group."""

    uid: int
    gid: int

    @property
    def is_another(self) -> bool:
        """Whether programs have to change to this account when they are started."""
        return self.uid != os.geteuid()

    def can_enter(self, folder: Path) -> bool:
        """Whether the mode bits let another account pass through every folder down to `folder`.

        For ourselves the answer is yes: what we can't enter fails by itself, with its own message.
        """
        if not self.is_another:
            return True
        return all(self._can_pass(step) for step in (folder, *folder.parents))

    def _can_pass(self, folder: Path) -> bool:
        try:
            found = folder.stat()
        except OSError:
            return False
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)

    def give(self, path: Path) -> None:
        """Make this account the owner of one file or folder."""
        if self.is_another:
            os.chown(path, self.uid, self.gid)


def choose_account(cluster_dir: Path | None) -> Account:
    """Ourselves, or as root the owner of the cluster, else an unprivileged account.

    PostgreSQL refuses to run as root, and initdb needs an account that has a name. Raises
    EmbeddedUnavailable if there is none.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if cluster_dir is not None and cluster_dir.is_dir():
        found = cluster_dir.stat()
        if found.st_uid == 0:
            raise EmbeddedUnavailable(
                f"{cluster_dir} belongs to root, as whom PostgreSQL does not run; chown -R it"
            )
        return Account(found.st_uid, found.st_gid)
    named = _named(OWN_NAME) or _named("postgres") or _made() or _named("nobody")
    if named is None:
        raise EmbeddedUnavailable(
            "started as root, but there is no unprivileged account to run PostgreSQL; "
            f"make one with: useradd --system {OWN_NAME}"
        )
    return named


def _named(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return None if entry.pw_uid == 0 else Account(entry.pw_uid, entry.pw_gid)


def _made() -> Account | None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWN_NAME]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=USERADD_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        # No useradd, or a read-only /etc: `nobody` still does.
        return None
    return _named(OWN_NAME)
