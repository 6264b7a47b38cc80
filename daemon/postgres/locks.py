"""Locks that the kernel frees when their holder dies; what they protect is not decided here."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """flock(2) on one file. Two objects on the same file exclude each other, also in one process.

    The descriptor is not inherited by the programs we start, so a PostgreSQL that outlives its
    daemon does not keep the daemon's lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._is_exclusive = False

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock alone."""
        return self._fd is not None and self._is_exclusive

    def take(self) -> bool:
        """Take the lock alone if nobody else has it, and say whether it is ours now."""
        return self._lock(fcntl.LOCK_EX)

    def share(self) -> bool:
        """Take the lock together with others, and say whether that worked."""
        return self._lock(fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock up; giving up what is not held is fine."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None
        self._is_exclusive = False

    def _lock(self, kind: int) -> bool:
        fd = self._fd
        if fd is None:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            # A failed conversion has dropped what was held (flock(2)), so start from nothing.
            os.close(fd)
            self._fd = None
            self._is_exclusive = False
            return False
        self._fd = fd
        self._is_exclusive = kind == fcntl.LOCK_EX
        return True
