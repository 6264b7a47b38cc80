"""Is that server alive, and is it ours? Asked over its socket, never by a process id alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import asyncpg

from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import ADMIN_ROLE, PORT, Layout
from daemon.postgres.postmaster import is_same_folder
from daemon.store.named_sql import load

ANSWER_WAIT_S = 5.0
_sql = load("embedded")
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
        served = await connection.fetchval(_sql["served_folder"], timeout=ANSWER_WAIT_S)
        alive = await connection.fetchval(_sql["is_alive"], timeout=ANSWER_WAIT_S)
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
