"""Blocks behind a position, in the order of the journal: from memory while they are there."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.clock import Clock
from daemon.domain.block import Block, unpack
from daemon.domain.events import Event
from daemon.live.ring import Ring
from daemon.service.tail import Tail

PAGE_POINTS_MAX = 50_000
PAGE_ENTRIES_MAX = 2_000
"""One page takes no more than this; what is behind it waits for the next."""


@dataclass(frozen=True, slots=True)
class Page:
    """Blocks up to and with the position `to`; all of them had arrived at `arrived_us`."""

    blocks: list[Block]
    to: int
    arrived_us: int


class BlockFeed:
    """Pages of at most PAGE_POINTS_MAX points, and one block more."""

    def __init__(self, tail: Tail, ring: Ring, *, clock: Clock) -> None:
        self._tail = tail
        self.ring = ring
        self._clock = clock

    async def after(self, position: int, *, upto: int) -> Page:
        """The next page; it ends at `upto` when there is nothing more."""
        if position >= self.ring.floor:
            return self._from_ring(position, upto)
        return await self._from_journal(position, upto)

    async def _from_journal(self, position: int, upto: int) -> Page:
        rows = await self._tail.journal.read_entries(position, limit=PAGE_ENTRIES_MAX)
        blocks: list[Block] = []
        to, points, arrived_us = position, 0, self._clock.now_us()
        for row in rows:
            if row.seq > upto:
                return Page(blocks, upto, arrived_us)
            if points >= PAGE_POINTS_MAX:
                return Page(blocks, to, arrived_us)
            to = row.seq
            if not isinstance(row, Event) and row.body is not None:
                blocks.append(unpack(row.body))
                points += len(blocks[-1])
                arrived_us = row.appended_at_us
        return Page(blocks, upto if len(rows) < PAGE_ENTRIES_MAX else to, arrived_us)

    def _from_ring(self, position: int, upto: int) -> Page:
        blocks: list[Block] = []
        to, points = position, 0
        for entry in self.ring.after(position, upto=upto):
            if points >= PAGE_POINTS_MAX or len(blocks) >= PAGE_ENTRIES_MAX:
                return Page(blocks, to, self._clock.now_us())
            to = entry.seq
            if entry.block is not None:
                blocks.append(entry.block)
                points += len(entry.block)
        return Page(blocks, max(to, min(upto, self.ring.head)), self._clock.now_us())
