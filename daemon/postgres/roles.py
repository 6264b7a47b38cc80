"""The application's role and database inside the cluster."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

import asyncpg

from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.layout import APP_ROLE, DATABASE, PORT, Layout
from daemon.postgres.probe import ANSWER_WAIT_S, DATABASE_ERRORS, connect_admin
from daemon.store.named_sql import load

# PostgreSQL's own default (scram_iterations).
SCRAM_ITERATIONS = 4096
_sql = load("embedded")


async def ensure_application(layout: Layout) -> None:
    """Make role and database unless the role can log in already. Raises EmbeddedUnavailable."""
    try:
        if not (await is_application_made(layout) and await _can_log_in(layout)):
            await _make_application(layout)
    except DATABASE_ERRORS as error:
        raise EmbeddedUnavailable(f"the role or database can't be made: {error}") from error


async def is_application_made(layout: Layout) -> bool:
    """Whether the database is there, and its role was made before it; False if nobody can say."""
    try:
        connection = await connect_admin(layout)
        try:
            return bool(await connection.fetchval(_sql["has_database"]))
        finally:
            connection.terminate()
    except asyncpg.TooManyConnectionsError:
        # Only a server that is in use is full.
        return True
    except DATABASE_ERRORS:
        return False


async def _can_log_in(layout: Layout) -> bool:
    """False when the password file is not the one the role was made with."""
    try:
        connection = await asyncpg.connect(
            host=str(layout.socket_dir),
            port=PORT,
            user=APP_ROLE,
            password=layout.password(APP_ROLE),
            database=DATABASE,
            timeout=ANSWER_WAIT_S,
        )
    except asyncpg.TooManyConnectionsError:
        return True
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        return False
    connection.terminate()
    return True


async def _make_application(layout: Layout) -> None:
    connection = await connect_admin(layout)
    try:
        # A role's password can't be a parameter, so it travels as a setting; and it is hashed
        # here, so that PostgreSQL's log can't show it even when the statement fails.
        verifier = scram_verifier(layout.password(APP_ROLE), salt=secrets.token_bytes(16))
        await connection.fetchval(_sql["pass_verifier"], verifier)
        await connection.execute(_sql["ensure_role"])
        if not await connection.fetchval(_sql["has_database"]):
            await connection.execute(_sql["create_database"])
    finally:
        connection.terminate()


def scram_verifier(password: str, *, salt: bytes) -> str:
    """What PostgreSQL stores for an ASCII password (RFC 5803, RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"
