"""Sessions and their refresh tokens as stored: only hashes of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from daemon.domain.events import NewEvent
from daemon.store import events
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("sessions")
FIND_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that was not revoked: of a key, by the hash of the secret it was shown, or of an
    account."""

    session_id: str
    key_id: str | None
    key_hash: bytes | None
    account_id: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A refresh token with its session; `salt` makes its successor once it was used."""

    session: SessionRow
    used_at: datetime | None
    salt: bytes | None
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class Use:
    """What becomes of a refresh token that was shown: it gets a successor, or ends the session, or
    neither."""

    at: datetime
    salt: bytes
    successor_hash: bytes | None = None
    ends_because: str | None = None
    told: NewEvent | None = None


class SessionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, session: SessionRow, *, token_hash: bytes, address: str) -> None:
        """Store a session with its first refresh token."""
        async with self._database.transaction("control") as connection:
            await connection.execute(
                SQL["insert_session"],
                session.session_id,
                session.key_id,
                session.key_hash,
                session.account_id,
                address,
                session.expires_at,
            )
            await connection.execute(SQL["insert_token"], token_hash, session.session_id)

    async def find(self, session_ids: Collection[str]) -> list[SessionRow]:
        """Those that were not revoked."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(
                SQL["sessions_by_id"], list(session_ids), timeout=FIND_TIMEOUT_S
            )
        return [SessionRow(**row) for row in rows]

    async def use(self, digest: bytes, *, decide: Callable[[TokenRow], Use | None]) -> None:
        """Do with a refresh token what `decide` says of it, while nobody else can use it.

        `decide` is not called when there is no such token; what it raises undoes everything.
        """
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["lock_token"], digest)
            if row is None:
                return
            use = decide(_token(row))
            if use is None:
                return
            if use.successor_hash is not None:
                await connection.execute(SQL["use_token"], digest, use.at, use.salt)
                await connection.execute(SQL["insert_token"], use.successor_hash, row["session_id"])
            if use.ends_because is not None:
                await connection.execute(SQL["end_session"], row["session_id"], use.ends_because)
            if use.told is not None:
                await events.append(connection, use.told)

    async def session_of(self, digest: bytes) -> str | None:
        """The session of a refresh token, whatever became of either."""
        async with self._database.connection("control") as connection:
            found: str | None = await connection.fetchval(SQL["session_of_token"], digest)
        return found

    async def end(self, session_id: str, *, because: str) -> bool:
        """End a session; False when it has ended or is none."""
        async with self._database.transaction("control") as connection:
            ended = await connection.fetchval(SQL["end_session"], session_id, because)
        return ended is not None


def _token(row: Record) -> TokenRow:
    session = SessionRow(
        row["session_id"], row["key_id"], row["key_hash"], row["account_id"], row["expires_at"]
    )
    return TokenRow(session, row["used_at"], row["salt"], row["is_revoked"])
