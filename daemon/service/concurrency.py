"""How many long reads one key may have under way at a time; further ones wait a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from daemon.domain.access import Principal
from daemon.domain.errors import RateLimited
from daemon.domain.figures import Figure, FigureKind

WAITING_MAX = 1_000
"""Reads of one key that may wait: short ones, of a thousand clients, all get theirs."""
CODE = "too_many_at_once"


@dataclass(slots=True)
class _Holder:
    free: asyncio.Semaphore
    users: int = 0


@dataclass(slots=True)
class Places:
    """`each` for a key, whatever its tier; who gets none within `wait_s` is told to come again.

    Counted in this process. `what` is what they are called in messages.
    """

    what: str = "queries"
    each: int = 8
    wait_s: float = 5.0
    refused: int = 0
    _holders: dict[str, _Holder] = field(default_factory=dict)

    @property
    def users(self) -> int:
        """How many are under way or wait."""
        return sum(holder.users for holder in self._holders.values())

    @asynccontextmanager
    async def place(self, principal: Principal) -> AsyncIterator[None]:
        """Be one of them meanwhile. Raises RateLimited."""
        key_id = principal.key_id
        holder = self._holders.get(key_id)
        if holder is None:
            holder = self._holders[key_id] = _Holder(asyncio.Semaphore(self.each))
        if holder.users >= self.each + WAITING_MAX:
            raise self._refusal()
        holder.users += 1
        try:
            await self._take(holder)
            try:
                yield
            finally:
                holder.free.release()
        finally:
            holder.users -= 1
            if not holder.users:
                del self._holders[key_id]

    async def _take(self, holder: _Holder) -> None:
        if not holder.free.locked():
            await holder.free.acquire()
            return
        try:
            async with asyncio.timeout(self.wait_s):
                await holder.free.acquire()
        except TimeoutError:
            raise self._refusal() from None

    def _refusal(self) -> RateLimited:
        self.refused += 1
        return RateLimited(
            f"{self.each} {self.what} of this key are under way already",
            code=CODE,
            retry_after_s=max(1, round(self.wait_s)),
        )


def of_places(*kinds: Places) -> Callable[[], Iterable[Figure]]:
    """Figures of long reads, by what they are."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_reads_in_flight",
            FigureKind.GAUGE,
            "Long reads that are under way or wait for their place.",
            [((("kind", one.what),), float(one.users)) for one in kinds],
        )
        yield Figure(
            "telemetry_reads_refused_total",
            FigureKind.COUNTER,
            "Long reads that found no place in time.",
            [((("kind", one.what),), float(one.refused)) for one in kinds],
        )

    return read
