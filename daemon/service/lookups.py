"""Look-ups of what anybody may make up, such as keys, refresh tokens, tickets and names: those in
vain are no load for the database, wherever they come from. Guesses at what exists are counted in
service/guesses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from daemon.clock import Clock
from daemon.domain.allowance import Allowance
from daemon.domain.errors import Busy
from daemon.service.key_cache import ExpiringCache

T = TypeVar("T")

VAIN_PER_S = 50
"""Look-ups a second, and at once, of what turns out to be nothing; over it who comes with what was
not seen lately is told to try later."""
AT_A_TIME_MAX = 2
"""Look-ups under way at a time, so that a flood leaves connections for other work."""
KNOWN_FOR_S = 3_600.0
"""What was found in this time is looked up even so."""
KNOWN_MAX = 4_096


class Lookups:
    """Those of one kind of thing, in one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._vain = Allowance(VAIN_PER_S, VAIN_PER_S)
        self._known: ExpiringCache[bool] = ExpiringCache(clock, entries_max=KNOWN_MAX)
        self._turn = asyncio.Semaphore(AT_A_TIME_MAX)

    def expect(self, digest: bytes) -> None:
        """It was given out just now, so it will come."""
        self._known.put(digest, True, lifetime_s=KNOWN_FOR_S)

    async def find(self, digest: bytes, look_up: Callable[[], Awaitable[T | None]]) -> T | None:
        """What `look_up` finds for the thing with this digest; None for nothing, which counts.

        Raises Busy where too much was looked up in vain, and what `look_up` does.
        """
        is_known = self._known.get(digest) is not None
        if not is_known:
            self._take()
            # Only what is under way is counted: of many good ones that come at once, as after a
            # restart, all have their turn.
            self._vain.give_back()
        async with self._turn:
            if not is_known:
                self._take()
            found = await look_up()
        if found is None:
            self._known.discard(digest)
            return None
        if not is_known:
            self._vain.give_back()
        self.expect(digest)
        return found

    def _take(self) -> None:
        if not self._vain.take(self._clock.monotonic_s()):
            raise Busy("too many unknown credentials are being tried")
