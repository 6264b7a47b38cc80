"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65_536


def raise_open_files() -> int:
    """Ask for as many as we are allowed to, up to WANTED; returns how many there may be.

    The usual 1,024 are a default for programs that call select(2), which we do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return WANTED if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
