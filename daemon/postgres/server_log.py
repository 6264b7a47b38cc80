"""The server's log file: appended by PostgreSQL, kept to a bounded size by us."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

# At the bound the file moves to `.1`, so at most twice this is kept.
LOG_BYTES_MAX = 16 << 20
TAIL_BYTES = 8 << 10
STARTED = "LOG:  starting PostgreSQL"


def open_log(path: Path) -> BinaryIO:
    """Open for appending, readable by the owner alone."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(fd, "ab", buffering=0)


def trim_log(path: Path) -> None:
    """Start the log anew when it is over its bound.

    PostgreSQL keeps its descriptor, so the file is copied and emptied in place; lines written in
    between are lost, which is why the bound is generous.
    """
    if not path.exists() or path.stat().st_size <= LOG_BYTES_MAX:
        return
    kept = path.with_name(f"{path.name}.1")
    shutil.copyfile(path, kept)
    kept.chmod(0o600)
    os.truncate(path, 0)


def last_complaint(path: Path) -> str:
    """The newest FATAL or PANIC line of the server itself, for messages; empty without one."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    # A new start begins a new story; and what a session was refused names user@database.
    for line in reversed(lines):
        if STARTED in line:
            return ""
        where, grave, what = line.partition("FATAL:")
        if not grave:
            where, grave, what = line.partition("PANIC:")
        if grave and "@" not in where:
            return what.strip()
    return ""
