"""Which process is a cluster's server; a process id alone is never believed."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

CONNECT_WAIT_S = 5.0
UCRED = struct.Struct("3i")


class Credentials(NamedTuple):
    """A process and its user; the process is 0 when it lives in another container."""

    pid: int
    uid: int


def listener_of(socket_path: Path) -> Credentials | None:
    """Who listens on the socket, as the kernel knows it; None when nobody does.

    SO_PEERCRED of a connected client names who called listen(2) (unix(7)): the postmaster.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_WAIT_S)
        try:
            client.connect(str(socket_path))
            found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        except OSError:
            return None
    pid, uid, _ = UCRED.unpack(found)
    return Credentials(pid, uid)


def noted_pid(cluster_dir: Path) -> int | None:
    """The process id in postmaster.pid, which may be anybody's by now; None when there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return abs(int((cluster_dir / "postmaster.pid").read_text().splitlines()[0]))
    return None


def is_postmaster_of(pid: int, cluster_dir: Path) -> bool:
    """Whether that process lives and works in the cluster's folder, as only its server does.

    Root without CAP_SYS_PTRACE, as in a container, may not look into another account's folder;
    then the command line, which everybody may read, has to name the cluster. A zombie has neither.
    """
    try:
        return is_same_folder(Path(os.readlink(f"/proc/{pid}/cwd")), cluster_dir)
    except PermissionError:
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return os.fsencode(cluster_dir) in arguments and arguments[0].endswith(b"/postgres")
    except OSError:
        pass
    return False


def is_same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
