"""How many new series a key may register in an hour, so that no key uses up the devices that there
may be for everybody. How many there may be at all is decided in service/catalog."""

from __future__ import annotations

from typing import NamedTuple

from daemon.clock import Clock
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.budgets import RateClass
from daemon.domain.errors import TryLater
from daemon.domain.occasions import Seldom
from daemon.log import get_logger
from daemon.service.limits import Limits
from daemon.store.events import EventStore

TOLD_EVERY_S = 3_600.0
TOLD_MAX = 1_000
"""So many keys are remembered as told of; a second event of one hour is not stored anyway."""

log = get_logger()


class Asker(NamedTuple):
    """Who sends points, and from where."""

    principal: Principal
    address: str


class SeriesBudget:
    """Shared by all daemons of a database, as the other budgets are."""

    def __init__(self, limits: Limits, events: EventStore, *, clock: Clock) -> None:
        self._limits = limits
        self._events = events
        self._clock = clock
        self._seldom = Seldom(every_s=TOLD_EVERY_S, entries_max=TOLD_MAX)

    async def take(self, by: Asker, wanted: int) -> int:
        """How many of so many new series the key may register now."""
        granted = await self._limits.take_some(
            by.principal, RateClass.SERIES, address=by.address, amount=wanted
        )
        if granted < wanted:
            await self._tell(by.principal)
        return granted

    def give_back(self, by: Asker, unused: int) -> None:
        """So many were not registered after all."""
        self._limits.give_back(by.principal, RateClass.SERIES, address=by.address, amount=unused)

    async def _tell(self, principal: Principal) -> None:
        """Once an hour for each key; the points were refused whether or not that can be told."""
        if not self._seldom.is_due(principal.key_id, self._clock.monotonic_s()):
            return
        told = tellings.series_limit_reached(
            principal.key_id, principal.name, principal.tier, now_us=self._clock.now_us()
        )
        try:
            await self._events.insert(told)
        except TryLater as error:
            log.warning("series_limit_not_told", key_id=principal.key_id, code=error.error_code)
