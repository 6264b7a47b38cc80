"""Keeps the memory views level with the journal: own blocks at once, those of other daemons in
commit order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daemon.domain.block import Block, Int32s, concat, unpack
from daemon.domain.devices import OWN_DEVICE
from daemon.domain.events import Event
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.live.ring import Entry
from daemon.store.journal import JournalRow, JournalStore
from daemon.store.series import SeriesStore

PAGE_BLOCKS = 500
"""Blocks that are read from the journal at a time."""
COMPACTOR = "compactor"
PRELOAD_ENTRIES_MAX = 20_000
PRELOAD_POINTS_MAX = 250_000
"""What is read at start for streams that resume."""


@dataclass(slots=True)
class Tail:
    """`position` is the newest seq up to which every block of every daemon is in the views,
    `stored_position` that of the newest block that somebody sent, as this process saw.

    `is_flushing` tells whether an own block may be committed but not applied yet. `on_points` gets
    the series of every new block. `publish` gets every block and event once, strictly in the order
    of seq; `preload` gets the newest ones that were there before the start.
    """

    journal: JournalStore
    series: SeriesStore
    registry: Registry
    head: Head
    latest: Latest
    position: int = 0
    stored_position: int = 0
    is_closing: bool = False
    is_flushing: Callable[[], bool] = lambda: False
    on_points: Callable[[Int32s], None] = lambda _series_ids: None
    publish: Callable[[Entry], None] = lambda _entry: None
    preload: Callable[[int, list[Entry]], None] = lambda _position, _entries: None
    _own: dict[int, Block] = field(default_factory=dict)
    _newest_own: int = 0
    _waiting: int = 0
    _level_s: float = 0.0
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    # -- start -------------------------------------------------------------------------------

    async def load(self) -> None:
        """Fill the views from the stored catalogue and latest points, then from the journal's tail.

        Work and memory grow with the number of series and with what is not compacted yet, never
        with the history.
        """
        await self.reload_catalog()
        # Before the stored latest: what is compacted in between is applied twice, never skipped.
        self.position = await self.journal.position_of(COMPACTOR)
        for point in await self.series.latest():
            self.latest.load(point)
        while rows := await self.journal.read_after(self.position, limit_blocks=PAGE_BLOCKS):
            blocks = [unpack(row.body) for row in rows if row.body is not None]
            await self._know(blocks)
            # One append for the page: a journal of single points loads as fast as one of batches.
            self._apply(rows[-1].seq, concat(blocks))
            self.position = rows[-1].seq
        await self._preload()

    async def _preload(self) -> None:
        """Hand on the newest entries, so that who resumes after a restart needs no database."""
        found = await self.journal.read_newest(
            upto=self.position, limit=PRELOAD_ENTRIES_MAX, points=PRELOAD_POINTS_MAX
        )
        entries = [_entry_of(item) for item in reversed(found)]
        self.preload(entries[0].seq - 1 if entries else self.position, entries)

    async def reload_catalog(self) -> None:
        """Read the catalogue anew, unless its version is known: series, definitions, retentions.

        A version is taken over once. A second reading of it may be older than a series registered
        since, and would make it unknown; what is committed under a version was registered before
        the next one.
        """
        async with self._reading:
            if await self.series.state() == (self.registry.version, self.registry.epoch):
                return
            catalog = await self.series.catalog()
            self.registry.replace(
                catalog.series,
                definitions=catalog.definitions,
                retention_days=catalog.retention_days,
            )
            self.registry.version, self.registry.epoch = catalog.version, catalog.epoch
            # The views hold what is committed here: a restored database is another one.
            self.series.expect(catalog.epoch)

    # -- own blocks --------------------------------------------------------------------------

    def apply_own(self, seq: int, block: Block) -> None:
        """A block of this process was committed: show it before its senders are answered.

        When nothing lies between it and the position, it is followed at once, without a look into
        the journal: numbers are given out in commit order.
        """
        self._newest_own = max(self._newest_own, seq)
        if seq <= self.position:
            # The answer was so late that the journal was read meanwhile.
            return
        self._apply(seq, block)
        self.on_points(block.series_ids)
        if seq == self.position + 1:
            self._pass(Entry(seq, block))
            self._tell()
        else:
            self._own[seq] = block
            self._wanted.set()

    # -- following ---------------------------------------------------------------------------

    async def turn(self) -> int:
        """Apply what is new in the journal, in commit order; returns how many entries that were.

        Between two awaits own blocks may be followed at once, so `position` is looked at again
        after each.
        """
        await self.reload_catalog()
        seen = 0
        while True:
            looked_s = asyncio.get_running_loop().time()
            rows = await self.journal.read_entries(
                self.position, limit=PAGE_BLOCKS, without_own_bodies=True
            )
            before = seen
            for row in rows:
                if not await self._follow(row):
                    break
                seen += 1
            if seen > before:
                self._tell()
            if seen - before == len(rows) < PAGE_BLOCKS:
                self._level_s = looked_s
            if seen - before < PAGE_BLOCKS:
                return seen

    @property
    def behind_s(self) -> float:
        """How long ago it was known to be level with the journal; in seconds."""
        return asyncio.get_running_loop().time() - self._level_s

    async def _follow(self, row: JournalRow | Event) -> bool:
        """Pass one entry; False when it is an own block whose flush has not told us yet."""
        seq = row.seq
        if seq <= self.position:
            return True
        if isinstance(row, Event):
            self._pass(Entry(seq, event=row))
            return True
        if seq in self._own:
            self._pass(Entry(seq, self._own.pop(seq)))
            return True
        body = row.body
        if body is None:
            # Flushes come one after the other: one before our newest has told us all it will.
            if self.is_flushing() and seq > self._newest_own:
                return False
            # The answer to this commit was lost, but it happened.
            body = await self.journal.read_one(seq)
        block = None if body is None else unpack(body)
        if block is not None:
            await self._know([block])
        if seq <= self.position:
            return True
        own = self._own.pop(seq, None)
        if own is None and block is not None:
            self._apply(seq, block)
            self.on_points(block.series_ids)
        self._pass(Entry(seq, block if own is None else own))
        return True

    def _pass(self, entry: Entry) -> None:
        """The position is behind this entry now."""
        self.position = entry.seq
        if entry.block is not None and not self._is_own_health(entry.block):
            self.stored_position = entry.seq
        self.publish(entry)

    def _is_own_health(self, block: Block) -> bool:
        """Whether the daemon alone wrote it: that is no sign that anybody sends."""
        own = self.registry.metrics_of(OWN_DEVICE)
        return len(block) <= len(own) and set(block.series_ids.tolist()) <= set(own.values())

    def _tell(self) -> None:
        """Wake who waits for the position to move."""
        if self._waiting:
            self._moved.set()
            self._moved = asyncio.Event()

    def compacted(self, position: int) -> None:
        """This process's compactor has written everything up to `position` into chunks."""
        self.head.trim(min(position, self.position))

    async def trim(self) -> None:
        """Let go of what a compactor, here or elsewhere, has written into chunks."""
        self.compacted(await self.journal.position_of(COMPACTOR))

    async def wait_beyond(self, seq: int, timeout_s: float) -> None:
        """Return when `position` is past `seq`, or after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                self._waiting += 1
                try:
                    while self.position <= seq and not self.is_closing:
                        self._wanted.set()
                        await self._moved.wait()
                finally:
                    self._waiting -= 1
        except TimeoutError:
            return

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when an own block was committed, somebody waits, `wake` was called, or after the
        timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    def wake(self) -> None:
        """Look into the journal now: a NOTIFY came."""
        self._wanted.set()

    def close(self) -> None:
        """Let everybody who waits go: the daemon drains."""
        self.is_closing = True
        self._moved.set()

    # -- both --------------------------------------------------------------------------------

    def _apply(self, seq: int, block: Block) -> None:
        self.head.append(seq, block)
        self.latest.append(seq, block)

    async def _know(self, blocks: list[Block]) -> None:
        """Learn of series that another daemon has registered since."""
        newest = max((int(b.series_ids.max()) for b in blocks), default=0)
        if newest > self.registry.series_id_max:
            rows = await self.series.series_after(self.registry.series_id_max)
            self.registry.add(rows)
        ids = (
            np.unique(np.concatenate([b.series_ids for b in blocks]))
            if blocks
            else np.empty(0, int)
        )
        ids = ids[ids < self.registry.size]
        if len(ids) and not self.registry.kinds[ids].all():
            version, _ = await self.series.state()
            if version == self.registry.version:
                # A registration with a smaller id committed after we had read a larger one.
                self.registry.add(await self.series.series_after(int(ids.min()) - 1))


def _entry_of(row: JournalRow | Event) -> Entry:
    if isinstance(row, Event):
        return Entry(row.seq, event=row)
    return Entry(row.seq, None if row.body is None else unpack(row.body))
