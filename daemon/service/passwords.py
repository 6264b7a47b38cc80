"""Passwords: argon2id outside the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from daemon.domain.account_request import PASSWORD_CHARACTERS_MAX
from daemon.domain.errors import Busy

T = TypeVar("T")

PARALLEL_MAX = 2
"""Hashes at a time in one process: 38 MiB."""
WAITING_MAX = 32
# OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Of a random text that nobody knows, with the parameters above: what an unknown name is checked
# against takes the time that a known one takes.
_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$"
    "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


class Passwords:
    """Hashes and checks."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(PARALLEL_MAX)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """argon2id's text of it. Raises Busy."""
        return await self._in_turn(lambda: _HASHER.hash(password))

    async def is_right(self, password: str, stored: str | None) -> bool:
        """Whether it is the password; without a stored one False, after as long. Raises Busy."""
        if len(password) > PASSWORD_CHARACTERS_MAX:
            return False
        found = await self._in_turn(lambda: _is_right(password, stored or _NOBODY))
        return found and stored is not None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Busy("too many passwords are being checked")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _is_right(password: str, stored: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
