"""Is that server alive, and is it ours? Asked over its socket, never by a process id alone."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from enum import StrEnum
from pathlib import Path

import asyncpg

from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import ADMIN_ROLE, PORT, Layout

ANSWER_WAIT_S = 5.0
UCRED = struct.Struct("3i")
DATABASE_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Answer(StrEnum):
    """What a server said to `SELECT 1`."""

    READY = "ready"
    NOT_YET = "not_yet"  # it is starting, recovering or stopping (SQLSTATE 57P03)
    SILENT = "silent"  # it took the connection and said nothing in time
    ABSENT = "absent"  # nobody listens


async def ask(layout: Layout) -> Answer:
    """Connect, run `SELECT 1` and check that the server serves this cluster.

    Raises EmbeddedUnavailable when it serves another one or does not know our password.
    """
    try:
        connection = await connect_admin(layout)
    except (FileNotFoundError, ConnectionRefusedError):
        return Answer.ABSENT
    except asyncpg.CannotConnectNowError:
        return Answer.NOT_YET
    except asyncpg.TooManyConnectionsError:
        return Answer.READY
    except (TimeoutError, BlockingIOError):
        return Answer.SILENT
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise EmbeddedUnavailable(
            f"the server of {layout.cluster_dir} does not accept the password of "
            f"{layout.password_path(ADMIN_ROLE)}"
        ) from error
    except DATABASE_ERRORS:
        # It went away in the middle of the greeting.
        return Answer.NOT_YET
    try:
        served = await connection.fetchval("SHOW data_directory", timeout=ANSWER_WAIT_S)
        alive = await connection.fetchval("SELECT 1", timeout=ANSWER_WAIT_S)
    except TimeoutError:
        return Answer.SILENT
    except DATABASE_ERRORS:
        return Answer.NOT_YET
    finally:
        connection.terminate()
    if not is_same_folder(Path(served), layout.cluster_dir):
        raise EmbeddedUnavailable(f"{layout.socket_path} belongs to the server of {served}")
    return Answer.READY if alive == 1 else Answer.NOT_YET


async def connect_admin(layout: Layout) -> asyncpg.Connection:
    """A connection as superuser, for the supervisor's own questions."""
    return await asyncpg.connect(
        host=str(layout.socket_dir),
        port=PORT,
        user=ADMIN_ROLE,
        password=layout.password(ADMIN_ROLE),
        database="postgres",
        timeout=ANSWER_WAIT_S,
        server_settings={"application_name": "telemetryd supervisor"},
    )


def listener_pid(layout: Layout) -> int | None:
    """The process that listens on our socket, as the kernel knows it; None when nobody does.

    SO_PEERCRED of a connected client names who called listen(2) (unix(7)): the postmaster.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_WAIT_S)
        try:
            client.connect(str(layout.socket_path))
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
