"""Which process is a cluster's server; a process id alone is never believed."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

CONNECT_WAIT_S = 5.0
UCRED = struct.Struct("3i")


def listener_pid(socket_path: Path) -> int | None:
    """The process that listens on our socket, as the kernel knows it; None when nobody does.

    SO_PEERCRED of a connected client names who called listen(2) (unix(7)): the postmaster.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_WAIT_S)
        try:
            client.connect(str(socket_path))
            found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        except OSError:
            return None
    pid = UCRED.unpack(found)[0]
    return pid or None


def noted_pid(cluster_dir: Path) -> int | None:
    """The process id in postmaster.pid, which may be anybody's by now; None when there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return abs(int((cluster_dir / "postmaster.pid").read_text().splitlines()[0]))
    return None


def is_postmaster_of(pid: int, cluster_dir: Path) -> bool:
    """Whether that process lives and works in the cluster's folder, as only its server does.

    A zombie has no folder any more, and a process we may not look at is not ours.
    """
    try:
        return is_same_folder(Path(os.readlink(f"/proc/{pid}/cwd")), cluster_dir)
    except OSError:
        return False


def is_same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
