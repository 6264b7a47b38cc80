"""Points in commit order after a cursor: what /changes, incremental exports and streams follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.block import Block, concat, unpack
from daemon.domain.cursors import Cursor, parse_cursor
from daemon.domain.errors import Busy
from daemon.domain.merge import EMPTY
from daemon.domain.series_name import SeriesName
from daemon.domain.tags import rows_carrying
from daemon.live.registry import Registry
from daemon.service.selection import in_groups, sees
from daemon.service.tail import Tail
from daemon.store.changes import read_bounded
from daemon.store.journal import JournalStore
from daemon.store.pool import Database

NOW = "now"
"""Instead of a cursor: begin behind what is committed."""
PAGE_POINTS_DEFAULT = 1_000
PAGE_POINTS_MAX = 10_000
READ_POINTS = 50_000
"""Blocks are fetched until they hold this many points."""
SCAN_POINTS_MAX = 1_000_000
"""A page that finds too little among this many points ends early, with a cursor to go on from."""
WAIT_S_MAX = 60.0
WAITERS_MAX = 1_000
"""Over this many waiting requests a further one is answered 503."""
CATCH_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class ChangesFilter:
    """Which points; None and empty mean all.

    `groups`, by id or name, leave those devices that are in any of them.
    """

    devices: frozenset[str] | None = None
    metrics: frozenset[str] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Positions that are not there any more: `expired` from the journal, or of another `epoch`."""

    start: Cursor
    end: Cursor
    reason: str


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Points in commit order, and the cursor behind them."""

    block: Block
    names: dict[int, SeriesName]
    cursor: Cursor
    gap: Gap | None


@dataclass(slots=True)
class Sight:
    """Remembers, for one request, which series it may see and what they are called."""

    registry: Registry
    principal: Principal
    wanted: ChangesFilter
    names: dict[int, SeriesName] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def rows_of(self, block: Block) -> npt.NDArray[np.intp]:
        """Rows in order whose series is known, asked for and may be seen, with the tags wanted."""
        distinct, index = np.unique(block.series_ids, return_inverse=True)
        fits = np.array([self._fits(series_id) for series_id in distinct.tolist()], np.bool_)
        rows = np.flatnonzero(fits[index])
        if not self.wanted.tags or not len(rows):
            return rows
        return rows[rows_carrying(block.take(rows), self.wanted.tags)]

    def _fits(self, series_id: int) -> bool:
        if series_id in self._seen:
            return series_id in self.names
        self._seen.add(series_id)
        registry = self.registry
        if series_id >= registry.size or not registry.kinds[series_id]:
            return False
        device_id, metric_name = registry.device_of[series_id], registry.metric_of[series_id]
        if device_id is None or metric_name is None:
            return False
        wanted = self.wanted
        fits = (
            (wanted.devices is None or device_id in wanted.devices)
            and (wanted.metrics is None or metric_name in wanted.metrics)
            and sees(self.principal, device_id, metric_name)
        )
        if fits:
            kind = registry.kind_of(series_id)
            self.names[series_id] = SeriesName(device_id, metric_name, kind)
        return fits


class Changes:
    """Follows the journal for requests, never beyond what the tail of this process knows."""

    def __init__(
        self, database: Database, *, journal: JournalStore, tail: Tail, clock: Clock
    ) -> None:
        self._database = database
        self._journal = journal
        self._tail = tail
        self._clock = clock
        self._waiters = 0

    @property
    def epoch(self) -> str:
        return self._tail.registry.epoch

    def position(self) -> Cursor:
        """Where this process is: everything up to it is in the views."""
        return Cursor(self.epoch, self._tail.position)

    def sight(self, principal: Principal, wanted: ChangesFilter) -> Sight:
        """What of it the key may see now. Raises Invalid `unknown_group`."""
        registry = self._tail.registry
        if wanted.groups:
            devices = in_groups(registry, principal, devices=wanted.devices, groups=wanted.groups)
            wanted = replace(wanted, devices=frozenset(devices or ()))
        return Sight(registry, principal, wanted)

    def find_groups(self, principal: Principal, names: Sequence[str]) -> tuple[str, ...]:
        """The ids of groups that the key may see, by id or name. Raises Invalid `unknown_group`."""
        return self._tail.registry.membership.resolve(names, by=principal)

    async def begin(self, after: str | None) -> tuple[Cursor, Gap | None]:
        """Where to read on from; without `after` at the oldest kept. Raises Malformed.

        A cursor whose blocks are gone begins at the oldest kept, and the gap says so. `now` is the
        newest committed.
        """
        if after == NOW:
            return Cursor(self.epoch, await self.end()), None
        given = parse_cursor(after) if after else None
        floor, last = await self._journal.bounds()
        first = Cursor(self.epoch, floor)
        if given is None:
            return first, None
        if given.epoch != self.epoch or given.seq > last:
            return first, Gap(given, first, "epoch")
        if given.seq < first.seq:
            return first, Gap(given, first, "expired")
        return given, None

    async def end(self) -> int:
        """The newest committed position, once this process knows its series."""
        newest = await self._journal.newest_seq()
        if newest is not None and newest > self._tail.position:
            await self._tail.wait_beyond(newest - 1, CATCH_UP_S)
        return self._tail.position

    async def page(
        self,
        principal: Principal,
        wanted: ChangesFilter,
        *,
        after: str | None,
        limit: int = PAGE_POINTS_DEFAULT,
        wait_s: float = 0.0,
    ) -> ChangesPage:
        """Up to `limit` points; with `wait_s`, an empty page is held back until there are some.

        Raises Malformed for a cursor that is none, and Busy when too many requests wait.
        """
        cursor, gap = await self.begin(after)
        deadline_s = self._clock.monotonic_s() + min(wait_s, WAIT_S_MAX)
        while True:
            # Anew after each wait, in which groups may have changed.
            sight = self.sight(principal, wanted)
            upto = await self.end()
            found, cursor = await self._scan(sight, cursor, upto=upto, limit=limit)
            left_s = deadline_s - self._clock.monotonic_s()
            is_done = found or gap or cursor.seq < upto or left_s <= 0 or self._tail.is_closing
            if is_done:
                block = concat(found) if found else EMPTY
                return ChangesPage(block, sight.names, cursor, gap)
            await self._wait_beyond(upto, left_s)

    async def blocks(self, cursor: Cursor, *, upto: int) -> AsyncIterator[tuple[int, Block, int]]:
        """(seq, block, rows already read) of each block behind the cursor up to `upto`."""
        seq, offset = cursor.seq, cursor.offset
        while seq < upto:
            rows = await read_bounded(self._database, seq, upto=upto, points=READ_POINTS)
            for row in rows:
                yield row.seq, unpack(row.body), offset
                seq, offset = row.seq, 0
            if not rows:
                return

    async def _scan(
        self, sight: Sight, cursor: Cursor, *, upto: int, limit: int
    ) -> tuple[list[Block], Cursor]:
        found: list[Block] = []
        room, scanned = limit, 0
        is_fresh = cursor.seq < upto
        async for seq, block, offset in self.blocks(cursor, upto=upto):
            part, taken = _first_visible(sight, block, offset=offset, room=room)
            if len(part):
                found.append(part)
            room -= len(part)
            scanned += len(block)
            if taken < len(block):
                return found, Cursor(cursor.epoch, cursor.seq, taken)
            cursor = Cursor(cursor.epoch, seq)
            if room == 0 or scanned >= SCAN_POINTS_MAX:
                return found, cursor
        if not is_fresh or cursor.offset:
            # The block it is in the middle of is not known here yet.
            return found, cursor
        # Numbers that were never used are read too.
        return found, Cursor(cursor.epoch, upto)

    async def _wait_beyond(self, seq: int, left_s: float) -> None:
        if self._waiters >= WAITERS_MAX:
            raise Busy("too many requests wait for changes")
        self._waiters += 1
        try:
            await self._tail.wait_beyond(seq, left_s)
        finally:
            self._waiters -= 1


def _first_visible(sight: Sight, block: Block, *, offset: int, room: int) -> tuple[Block, int]:
    """The next `room` visible rows from `offset` on, and how many rows are read then."""
    n = len(block)
    rest = block if offset == 0 else block.take(np.arange(min(offset, n), n))
    if not len(rest):
        return EMPTY, n
    rows = sight.rows_of(rest)
    if len(rows) <= room:
        return rest.take(rows), n
    return rest.take(rows[:room]), min(offset, n) + int(rows[room - 1]) + 1
