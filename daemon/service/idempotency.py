"""Requests that are done once however often they are sent: by a key that the client chose.

The change and the note that it is made are one transaction. So a daemon that dies in between
leaves either nothing, and a repeat does it after RUNNING_S, or a change whose answer nobody has
kept, and a repeat hears that it is done. Nothing is done twice.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from daemon import faults
from daemon.domain.errors import Conflict, Invalid, TryLater
from daemon.log import get_logger
from daemon.store.idempotency import Attempt, IdempotencyStore, KnownRequest, mark_changed
from daemon.store.pool import Connection, beside

RUNNING_S = 60.0
"""How long a request may take; then a repeat takes it over, should nothing have come of it."""
ANSWER_BYTES_MAX = 64 * 1024
"""Larger answers are not kept; a repeat then hears only that it is done."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer of the first time."""

    status: int
    body: bytes


class Turn:
    """A request under way; what it changes is marked, and its answer is kept for repeats."""

    def __init__(self, store: IdempotencyStore, attempt: Attempt) -> None:
        self._store = store
        self._attempt = attempt
        self._is_over = False

    async def begin(self, connection: Connection) -> None:
        if not self._is_over:
            await mark_changed(connection, self._attempt)
            faults.point(faults.Point.REQUEST_BEFORE_CHANGE)

    def end(self) -> None:
        """Nothing more is to be said within the change."""

    @contextmanager
    def marking(self) -> Iterator[None]:
        """Whatever is changed within is marked; not what tasks that outlive it change."""
        try:
            with beside(self):
                yield
        finally:
            self._is_over = True

    async def answered(self, status: int, body: bytes, *, secret_of: str | None = None) -> None:
        """Keep the answer; of one with a secret only what was made, which is `secret_of`.

        The change is made by now, so a failure is logged and no more.
        """
        faults.point(faults.Point.REQUEST_AFTER_CHANGE)
        is_kept = secret_of is None and len(body) <= ANSWER_BYTES_MAX
        kept = body if is_kept else (secret_of or "").encode()
        try:
            await self._store.keep(self._attempt, status=status if is_kept else None, answer=kept)
        except TryLater as error:
            log.warning("answer_not_kept", code=error.error_code)

    async def failed(self, *, is_refused: bool) -> None:
        """Let a repeat try it anew, unless something may have been changed."""
        try:
            await self._store.release(self._attempt, is_refused=is_refused)
        except TryLater as error:
            log.warning("request_not_released", code=error.error_code)


class Idempotency:
    """One for all routes."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store

    async def begin(self, principal: str, key: str, request: bytes) -> Turn | Kept:
        """A turn for a new request, or the answer that a known one got.

        Raises Conflict `request_running` or `already_done`, Invalid `idempotency_key_reused` when
        it is another request, StoreUnavailable.
        """
        attempt = Attempt(
            hashlib.sha256(f"{principal}\0{key}".encode()).digest(),
            hmac.digest(key.encode(), request, "sha256"),
            uuid4(),
        )
        known = await self._store.reserve(attempt, running_s=RUNNING_S)
        if known is None:
            return Turn(self._store, attempt)
        if not hmac.compare_digest(known.request_hash, attempt.request_hash):
            raise Invalid(
                "this Idempotency-Key was sent with another request", code="idempotency_key_reused"
            )
        return _kept(known)


def _kept(known: KnownRequest) -> Kept:
    if known.state == "running":
        raise Conflict(
            "the request with this Idempotency-Key is still running", code="request_running"
        )
    if known.status is None or known.answer is None:
        made = (known.answer or b"").decode()
        what = f"; it made {made}, whose secret can't be shown again" if made else ""
        raise Conflict(f"this request is done already{what}", code="already_done")
    return Kept(known.status, known.answer)
