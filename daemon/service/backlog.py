"""What an evaluator that begins has not judged yet, although it is stored: which samples are late
is decided by those that were judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block, Int32s, Int64s, concat
from daemon.domain.errors import TryLater
from daemon.domain.merge import merge
from daemon.live.latest import NEVER_US
from daemon.service.block_feed import BlockFeed
from daemon.service.history import History
from daemon.service.tail import Tail

BACKLOG_POINTS_MAX = 2_000_000
"""Of a longer backlog every sample is judged as if it came in order."""
LEVEL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Everything behind the position that the last evaluator stored."""

    tail: Tail
    feed: BlockFeed
    history: History
    position: int

    async def newest_judged(self, series_ids: Int32s) -> Int64s:
        """Time of the newest judged sample of each series, NEVER_US where there is none; where all
        in the backlog is newer, the time right before it. Raises TryLater while the tail is too far
        behind."""
        latest = self.tail.latest
        times_us = latest.times_us(series_ids).copy()
        has_more = latest.seqs(series_ids) > self.position
        moved = series_ids[has_more]
        if not len(moved):
            return times_us
        waiting = await self._read(moved, upto=self.tail.position)
        times_us[has_more] = NEVER_US
        if waiting is None or not len(waiting):
            return times_us
        span = int(waiting.times_us.min()), int(waiting.times_us.max()) + 1
        stored = await (
            await self.history.snapshot(moved, start_us=span[0], end_us=span[1])
        ).points()
        # What was committed meanwhile is stored, and not judged either.
        waiting = await self._read(moved, upto=await self._level())
        if waiting is not None:
            found = _newest_of(stored, without=waiting, series_ids=moved)
            first_us = _first_of(waiting, moved)
            times_us[has_more] = np.where(found == NEVER_US, first_us - 1, found)
        return times_us

    async def _level(self) -> int:
        """The tail's position, once it is behind all that a read may have seen."""
        newest = await self.tail.journal.newest_seq() or 0
        await self.tail.wait_beyond(newest - 1, LEVEL_WAIT_S)
        if self.tail.position < newest:
            raise TryLater("this process has not followed the journal yet")
        return self.tail.position

    async def _read(self, series_ids: Int32s, *, upto: int) -> Block | None:
        """The keys of these series in the backlog; None when it is too long."""
        found: list[Block] = []
        position, points = self.position, 0
        is_wanted = np.zeros(int(series_ids.max()) + 1, np.bool_)
        is_wanted[series_ids] = True
        while position < upto:
            page = await self.feed.after(position, upto=upto)
            if page.to == position:
                break
            position = page.to
            for block in page.blocks:
                found.append(_keys(block, is_wanted))
                points += len(found[-1])
            if points > BACKLOG_POINTS_MAX:
                return None
        return merge(found)


def _keys(block: Block, is_wanted: npt.NDArray[np.bool_]) -> Block:
    """Series and times of the wanted rows; values are not looked at."""
    ids = block.series_ids
    inside = ids < len(is_wanted)
    rows = np.flatnonzero(inside & is_wanted[np.where(inside, ids, 0)])
    return Block(ids[rows], block.times_us[rows], np.zeros(len(rows)))


def _newest_of(stored: Block, *, without: Block, series_ids: Int32s) -> Int64s:
    """The newest time of each series in `stored` whose key is not in the other block."""
    newest = np.full(int(series_ids.max()) + 1, NEVER_US, np.int64)
    if len(stored):
        both = concat([_plain(without), _plain(stored)]) if len(without) else _plain(stored)
        n = len(without)
        order = np.lexsort((np.arange(len(both)) >= n, both.times_us, both.series_ids))
        ids, times = both.series_ids[order], both.times_us[order]
        is_new = np.ones(len(order), np.bool_)
        is_new[1:] = (ids[1:] != ids[:-1]) | (times[1:] != times[:-1])
        is_judged = is_new & (order >= n)
        np.maximum.at(newest, ids[is_judged], times[is_judged])
    return newest[series_ids]


def _first_of(block: Block, series_ids: Int32s) -> Int64s:
    """The oldest time of each series; the block is sorted by series, then time, and has all."""
    at = np.searchsorted(block.series_ids, series_ids)
    return block.times_us[np.minimum(at, len(block) - 1)]


def _plain(block: Block) -> Block:
    return Block(block.series_ids, block.times_us, np.zeros(len(block)))
