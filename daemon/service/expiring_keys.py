"""Tells of keys that end soon, once for each, so that somebody makes others in time."""

from __future__ import annotations

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.log import get_logger
from daemon.store.events import EventStore
from daemon.store.keys import KeyStore

LOOK_EVERY_S = 60.0

log = get_logger()


class ExpiringKeys:
    """Any process may look; an event with the same dedup id is stored once."""

    def __init__(self, keys: KeyStore, events: EventStore, *, clock: Clock) -> None:
        self._keys = keys
        self._events = events
        self._clock = clock

    async def look(self) -> None:
        """One turn. Raises TryLater."""
        now_us = self._clock.now_us()
        for row in await self._keys.expiring(as_datetime(now_us)):
            await self._events.insert(tellings.key_expiring(row, now_us=now_us))
            log.warning("key_expires", key_id=row.key_id, expires_at=str(row.expires_at))
