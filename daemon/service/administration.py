"""What an administrator asks of the whole installation; the work itself is housekeeping's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden
from daemon.log import get_logger
from daemon.service.retention import HOUR_US, hour_of
from daemon.store import housekeeping
from daemon.store.pool import Database

log = get_logger()


@dataclass(frozen=True, slots=True)
class JournalPartition:
    """One hour of the journal."""

    name: str
    start_time: datetime
    state: str
    bytes: int


class Administration:
    """Callers hold the scope admin; it is about everybody's points, so they see everything, too."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def partitions(self, *, by: Principal) -> dict[str, Any]:
        """The partitions of the journal, oldest first. Raises Forbidden, StoreUnavailable."""
        _refuse_bound(by)
        now_us = self._clock.now_us()
        found = []
        for one in await housekeeping.list_partitions(self._database):
            start_us = hour_of(one)
            state = "ahead" if start_us > now_us else "current"
            if start_us + HOUR_US <= now_us:
                state = "behind"
            found.append(JournalPartition(one.name, as_datetime(start_us), state, one.bytes))
        return {
            "partitions": found,
            "total_bytes": sum(one.bytes for one in found),
            "kept_after": await housekeeping.needed_after(self._database),
        }

    async def run_retention(self, *, by: Principal) -> None:
        """Ask whoever keeps house to work now. Raises Forbidden, StoreUnavailable."""
        _refuse_bound(by)
        await housekeeping.ask(self._database)
        log.info("retention_requested", by=by.key_id)


def _refuse_bound(by: Principal) -> None:
    if not by.sees_everything:
        raise Forbidden("this concerns more than the key's patterns reach", code="outside_patterns")
