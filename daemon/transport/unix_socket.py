"""A listening socket in the file system, for its owner and one group."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

from daemon.domain.errors import DomainError

MODE = 0o660
BACKLOG = 128
NOBODY_ID = 65_534
"""As which the kernel names every user and group that a user namespace does not know (man 7
user_namespaces, overflowuid)."""
USERS, GROUPS = Path("/proc/self/uid_map"), Path("/proc/self/gid_map")


def bind_unix(path: Path, *, group: str) -> socket.socket:
    """Listen at the path with mode 0660, owned by the group if one is named.

    A socket that nobody listens on any more is replaced. Raises DomainError when the group is not
    known or the place is no socket, OSError when somebody listens there or it can't be used.
    """
    owner = owner_of(group)
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody else may connect before the mode is set.
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    os.chown(path, -1, owner)
    path.chmod(MODE)
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound


def strangers(ids: Iterable[int], known: Path) -> list[int]:
    """Those of the ids that this process can't tell from others: `known` says whom its user
    namespace maps (man 7 user_namespaces)."""
    spans = [
        (int(start), int(start) + int(count))
        for start, _, count in (line.split() for line in known.read_text().splitlines())
    ]
    return [
        one
        for one in sorted(ids)
        if one == NOBODY_ID or not any(start <= one < end for start, end in spans)
    ]


def owner_of(group: str) -> int:
    """The number of the group; -1, which changes nothing, for none. Raises DomainError."""
    if not group:
        return -1
    try:
        owner = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise DomainError(f"there is no group {group}", code="unknown_group") from error
    if strangers([owner], GROUPS):
        said = f"the group {group} is not known in this user namespace (PrivateUsers=yes)"
        raise DomainError(said, code="unknown_group")
    return owner


def _clear(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise DomainError(f"{path} is there and no socket", code="address_in_use")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, "somebody listens there already", str(path))
