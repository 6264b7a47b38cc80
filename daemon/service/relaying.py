"""What other systems are told, in the order of the journal: every flush and every event. When and
how is decided in workers and delivery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from daemon.domain.block import Block, unpack
from daemon.domain.cloud_events import DEVICES_MAX, CloudEvent, of_block, of_event
from daemon.domain.cursors import Cursor
from daemon.domain.events import Event
from daemon.log import get_logger
from daemon.service.tail import Tail
from daemon.store import leases
from daemon.store.journal import JournalRow, JournalStore
from daemon.store.leases import Grant
from daemon.store.pool import Database

RELAY = "relay"
PAGE_ENTRIES = 64
"""Blocks and events that are read at a time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = get_logger()


@dataclass(frozen=True, slots=True)
class RelayPage:
    """What comes next, and the position behind it."""

    events: Sequence[CloudEvent]
    to: int


class Relaying:
    """Follows the journal as far as the tail knows its series."""

    def __init__(self, database: Database, *, journal: JournalStore, tail: Tail) -> None:
        self._database = database
        self._journal = journal
        self._tail = tail
        self._told_lost = 0

    async def prepare(self) -> None:
        """The first time, begin behind what is there already."""
        _, last = await self._journal.bounds()
        await leases.begin(self._database, RELAY, position=last)

    def is_behind(self, position: int) -> bool:
        """Whether there may be something after the position; asks nobody."""
        return self._tail.position > position

    async def page(self, position: int) -> RelayPage | None:
        """What comes after the position; None when there is nothing yet."""
        upto = self._tail.position
        if upto <= position:
            return None
        await self._tell_lost(position)
        entries = await self._journal.read_entries(position, limit=PAGE_ENTRIES)
        known = [entry for entry in entries if entry.seq <= upto]
        if not known:
            return None
        return RelayPage([self._cloud_event(entry) for entry in known], known[-1].seq)

    async def move(self, grant: Grant, *, position: int, to: int) -> None:
        """Everything up to `to` was published. Raises LeaseLost."""
        async with self._database.transaction("control") as connection:
            await leases.move(connection, grant, position=position, to=to)

    async def _tell_lost(self, position: int) -> None:
        """Say once what the journal no longer held when we came to it."""
        floor, _ = await self._journal.bounds()
        lost_after = max(position, self._told_lost)
        if floor > lost_after:
            self._told_lost = floor
            log.error(
                "relay_lost_blocks", after=self._cursor(lost_after), up_to=self._cursor(floor)
            )

    def _cursor(self, seq: int) -> str:
        return str(Cursor(self._tail.registry.epoch, seq))

    def _cloud_event(self, entry: JournalRow | Event) -> CloudEvent:
        epoch = self._tail.registry.epoch
        if isinstance(entry, Event):
            return of_event(entry, epoch=epoch)
        assert entry.body is not None
        return of_block(
            Cursor(epoch, entry.seq),
            time=_EPOCH + timedelta(microseconds=entry.appended_at_us),
            points=entry.points,
            devices=self._devices_of(unpack(entry.body)),
        )

    def _devices_of(self, block: Block) -> list[str]:
        """The first devices of a block, each once."""
        registry = self._tail.registry
        series_ids: Iterable[int] = np.unique(block.series_ids).tolist()
        found: dict[str, None] = {}
        for series_id in series_ids:
            device_id = registry.device_of[series_id] if series_id < registry.size else None
            if device_id is not None:
                found[device_id] = None
            if len(found) == DEVICES_MAX:
                break
        return list(found)
