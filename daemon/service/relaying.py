"""What other systems are told, in the order of the journal: every flush and every event. When and
how is decided in workers and delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from daemon.domain.block import Block, unpack
from daemon.domain.cloud_events import DEVICES_MAX, CloudEvent, of_block, of_event
from daemon.domain.cursors import Cursor
from daemon.domain.events import Event
from daemon.live.ring import Ring
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

    def __init__(
        self, database: Database, *, journal: JournalStore, tail: Tail, ring: Ring
    ) -> None:
        self._database = database
        self._journal = journal
        self._tail = tail
        self._ring = ring
        self._told_lost = 0

    async def prepare(self) -> None:
        """The first time, begin behind what is there already."""
        _, last = await self._journal.bounds()
        await leases.begin(self._database, RELAY, position=last)

    async def page(self, position: int) -> RelayPage | None:
        """What comes after the position; None when there is nothing yet."""
        upto = self._tail.position
        if upto <= position:
            return None
        await self._tell_lost(position)
        # Blocks of this process are in memory already, as long as the relay keeps up.
        is_near = self._ring.floor <= position and self._ring.head >= upto
        entries = await self._journal.read_entries(
            position, limit=PAGE_ENTRIES, without_own_bodies=is_near
        )
        known = [entry for entry in entries if entry.seq <= upto]
        if not known:
            return None
        near = {e.seq: e.block for e in self._ring.after(position, upto=known[-1].seq)}
        told = [await self._cloud_event(entry, near=near.get(entry.seq)) for entry in known]
        return RelayPage(told, known[-1].seq)

    async def move(self, grant: Grant, *, position: int, to: int) -> None:
        """Everything up to `to` was published. Raises LeaseLost."""
        await leases.move_lazily(self._database, grant, position=position, to=to)

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

    async def _cloud_event(self, entry: JournalRow | Event, *, near: Block | None) -> CloudEvent:
        epoch = self._tail.registry.epoch
        if isinstance(entry, Event):
            return of_event(entry, epoch=epoch)
        block = near if near is not None else await self._block_of(entry)
        return of_block(
            Cursor(epoch, entry.seq),
            time=_EPOCH + timedelta(microseconds=entry.appended_at_us),
            points=entry.points,
            devices=[] if block is None else self._devices_of(block),
        )

    async def _block_of(self, row: JournalRow) -> Block | None:
        """The block of a row; None when the journal let go of it this moment."""
        body = row.body if row.body is not None else await self._journal.read_one(row.seq)
        return None if body is None else unpack(body)

    def _devices_of(self, block: Block) -> list[str]:
        """The first devices of a block, each once."""
        registry = self._tail.registry
        ids = block.series_ids
        # Columns come series by series: the first of each run is enough, and far less to sort.
        firsts = ids[np.flatnonzero(np.diff(ids, prepend=-1))]
        found: dict[str, None] = {}
        for series_id in np.unique(firsts).tolist():
            device_id = registry.device_of[series_id] if series_id < registry.size else None
            if device_id is not None:
                found[device_id] = None
            if len(found) == DEVICES_MAX:
                break
        return list(found)
