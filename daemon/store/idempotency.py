"""Requests with an Idempotency-Key as stored: who works on one, and what it was answered."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from daemon.domain.errors import Conflict
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("idempotency")
ANSWERED_WITHIN_S = 2.0
"""After the change; then the daemon that made it has died, and the answer is lost."""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """What is stored of a key; `status` and `answer` are null until it is answered."""

    request_hash: bytes
    state: str
    status: int | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a request: the hashes name it, `attempt` is different each time."""

    key_hash: bytes
    request_hash: bytes
    attempt: UUID


class IdempotencyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, attempt: Attempt, *, running_s: float) -> KnownRequest | None:
        """Begin a request, or take over one that was left for longer than `running_s`; then None.

        Else what is known of it.
        """
        async with self._database.connection("control", writing=True) as connection:
            for step in ("reserve", "take_over"):
                begun = await connection.fetchval(
                    SQL[step], attempt.key_hash, attempt.request_hash, attempt.attempt, running_s
                )
                if begun is not None:
                    return None
            row = await connection.fetchrow(SQL["find"], attempt.key_hash)
        if row is None:
            # It was released in this moment; whoever asks again begins it.
            return KnownRequest(attempt.request_hash, "running", None, None)
        return KnownRequest(**row)

    async def keep(self, attempt: Attempt, *, status: int | None, answer: bytes) -> None:
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(
                SQL["keep_answer"], attempt.key_hash, attempt.attempt, status, answer
            )

    async def release(self, attempt: Attempt, *, is_refused: bool) -> None:
        """Forget a request; without `is_refused` only one that has not changed anything."""
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(SQL["release"], attempt.key_hash, attempt.attempt, is_refused)


async def mark_changed(connection: Connection, attempt: Attempt) -> None:
    """Say it in the transaction of the change, so that both are there or neither.

    Raises Conflict when another attempt has taken over, which undoes the change.
    """
    found = await connection.fetchval(
        SQL["mark_changed"], attempt.key_hash, attempt.attempt, ANSWERED_WITHIN_S
    )
    if found is None:
        raise Conflict(
            "another request with this Idempotency-Key has taken over", code="request_running"
        )
