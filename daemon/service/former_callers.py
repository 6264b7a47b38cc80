"""Which callers still come with a former secret: noted with each request, stored a few seconds
later. Uses of keys at all are noted in service/key_uses."""

from __future__ import annotations

from datetime import datetime

from daemon.clock import Clock, as_datetime
from daemon.domain.errors import TryLater
from daemon.domain.former_callers import CALLERS_MAX, Caller, Overlap
from daemon.store.former_callers import FormerCallerStore

CALLER_NOTED_EVERY_S = 60.0
"""A use is stored once in this time, of each caller."""
NOTED_MAX = 16_384
"""So many callers are remembered of all keys together, and CALLERS_MAX of one; further ones are
noted when others are forgotten."""


class FormerCallers:
    """Those that this process has seen lately."""

    def __init__(self, store: FormerCallerStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted_at_s: dict[Overlap, dict[Caller, float]] = {}
        self._noted = 0
        self._uses: dict[tuple[Overlap, Caller], datetime] = {}

    def note(self, caller: Caller, *, key_id: str, until: datetime | None) -> None:
        """Remember who comes with a former secret that is accepted `until` then, if it is one."""
        if until is None:
            return
        overlap, now_s = Overlap(key_id, until), self._clock.monotonic_s()
        callers = self._noted_at_s.get(overlap, {})
        noted_at_s = callers.pop(caller, None)
        if noted_at_s is not None and now_s - noted_at_s < CALLER_NOTED_EVERY_S:
            callers[caller] = noted_at_s
            return
        if noted_at_s is None:
            if len(callers) >= CALLERS_MAX:
                self._drop_first(overlap, callers)
            elif self._noted >= NOTED_MAX:
                return
            self._noted += 1
        # Who came last stands last, so the first is the one to go.
        callers[caller] = now_s
        self._noted_at_s[overlap] = callers
        self._uses[overlap, caller] = as_datetime(self._clock.now_us())

    def _drop_first(self, overlap: Overlap, callers: dict[Caller, float]) -> None:
        first = next(iter(callers))
        del callers[first]
        self._uses.pop((overlap, first), None)
        self._noted -= 1

    async def write(self) -> None:
        """Store the uses. Raises TryLater: then they are noted again with the next ones."""
        uses, self._uses = self._uses, {}
        self._forget(self._clock.monotonic_s() - CALLER_NOTED_EVERY_S)
        if not uses:
            return
        try:
            await self._store.note(uses)
        except TryLater:
            self._noted_at_s, self._noted = {}, 0
            raise

    def _forget(self, before_s: float) -> None:
        kept = {
            overlap: {caller: at_s for caller, at_s in callers.items() if at_s > before_s}
            for overlap, callers in self._noted_at_s.items()
        }
        self._noted_at_s = {overlap: callers for overlap, callers in kept.items() if callers}
        self._noted = sum(map(len, self._noted_at_s.values()))
