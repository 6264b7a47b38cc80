"""Finds the feeds that want an entry: those that name devices by series, all others by a table of
flags each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.live.feed_kinds import EventFeed
from daemon.live.feeds import Feed
from daemon.live.ring import Entry, RowList, Rows
from daemon.live.views import Views

Flags = npt.NDArray[np.bool_]
NOBODY, SEVERAL = 0, -1
FEW_ROWS = 16
"""Up to so many rows are looked up one by one."""


class Index:
    """Series are looked at once, when they first come by after the catalogue has changed."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self._by_device: dict[str, dict[Feed, None]] = {}
        self._by_series: dict[int, list[Feed]] = {}
        self._wide: dict[Feed, _Table | None] = {}
        self._events: dict[EventFeed, None] = {}
        self._is_known: Flags = np.zeros(1024, np.bool_)
        # The number of the only narrow feed that wants a series; NOBODY or SEVERAL.
        self._owner: npt.NDArray[np.int32] = np.zeros(1024, np.int32)
        self._numbers: dict[Feed, int] = {}
        self._numbered: list[Feed | None] = [None]
        self._free: list[int] = []

    def add(self, feed: Feed) -> None:
        if isinstance(feed, EventFeed):
            self._events[feed] = None
        elif not feed.is_narrow:
            self._wide[feed] = None if feed.wants_all else _Table(feed)
        else:
            self._number(feed)
            for device_id in feed.interest.devices or ():
                self._by_device.setdefault(device_id, {})[feed] = None
            for series_id in feed.series_ids().tolist():
                if series_id < len(self._is_known) and self._is_known[series_id]:
                    self._by_series.setdefault(series_id, []).append(feed)
                    self._own(series_id)

    def remove(self, feed: Feed) -> None:
        if isinstance(feed, EventFeed):
            del self._events[feed]
        elif not feed.is_narrow:
            del self._wide[feed]
        else:
            for device_id in feed.interest.devices or ():
                feeds = self._by_device[device_id]
                del feeds[feed]
                if not feeds:
                    del self._by_device[device_id]
                for series_id in self.views.registry.metrics_of(device_id).values():
                    self._forget(series_id, feed)
            number = self._numbers.pop(feed)
            self._numbered[number] = None
            self._free.append(number)

    def _number(self, feed: Feed) -> None:
        """Small numbers, used again: tables hold them."""
        if self._free:
            number = self._free.pop()
            self._numbered[number] = feed
        else:
            number = len(self._numbered)
            self._numbered.append(feed)
        self._numbers[feed] = number

    def _own(self, series_id: int) -> None:
        """Note who wants a series."""
        feeds = self._by_series.get(series_id)
        if not feeds:
            self._owner[series_id] = NOBODY
        else:
            self._owner[series_id] = self._numbers[feeds[0]] if len(feeds) == 1 else SEVERAL

    def _forget(self, series_id: int, feed: Feed) -> None:
        feeds = self._by_series.get(series_id)
        if feeds is not None and feed in feeds:
            feeds.remove(feed)
            if not feeds:
                del self._by_series[series_id]
            self._own(series_id)

    def clear(self) -> None:
        """The catalogue or the groups changed: look at every series anew."""
        self._by_series.clear()
        self._is_known[:] = False
        self._owner[:] = NOBODY
        for table in self._wide.values():
            if table is not None:
                table.clear()

    # -- lookup ------------------------------------------------------------------------------

    def touched(self, entry: Entry) -> list[tuple[Feed, RowList]]:
        """The feeds that want something of the entry, with its rows; notes the rows there."""
        if entry.event is not None:
            event = entry.event
            return [(feed, [0]) for feed in self._events if feed.wants_event(event)]
        block = entry.block
        if block is None:
            return []
        found: list[tuple[Feed, RowList]] = []
        if self._by_device:
            self._narrow(entry, block, found)
        for feed, table in self._wide.items():
            rows: RowList = self._known_rows(block) if table is None else table.rows_in(block)
            rows = feed.carrying(block, rows)
            if len(rows):
                entry.wanted.append(np.asarray(rows, np.intp))
                found.append((feed, rows))
        return found

    def matcher(self, feed: Feed) -> Callable[[Entry], RowList]:
        """What one feed wants of an entry, now; for those that resume."""
        ids = feed.series_ids() if feed.is_narrow else None
        table = self._wide.get(feed)

        def rows_in(entry: Entry) -> RowList:
            block, event = entry.block, entry.event
            if isinstance(feed, EventFeed):
                return [0] if event is not None and feed.wants_event(event) else []
            if block is None:
                return []
            rows: RowList
            if ids is not None:
                rows = _rows_among(block.series_ids, ids)
            else:
                rows = self._known_rows(block) if table is None else table.rows_in(block)
            return feed.carrying(block, rows)

        return rows_in

    def _known_rows(self, block: Block) -> RowList:
        """The rows whose series is in the catalogue: all, unless a device was deleted."""
        kinds, ids = self.views.registry.kinds, block.series_ids
        if int(ids.max()) >= len(kinds):
            rows = np.flatnonzero(ids < len(kinds))
            known: Rows = rows[kinds[ids[rows]] != 0]
            return known
        is_known = kinds[ids] != 0
        return np.arange(len(ids)) if is_known.all() else np.flatnonzero(is_known)

    def _narrow(self, entry: Entry, block: Block, found: list[tuple[Feed, RowList]]) -> None:
        ids = block.series_ids
        self._know(ids)
        owners = self._owner[ids]
        rows = np.flatnonzero(owners)
        if not len(rows):
            return
        entry.wanted.append(rows)
        rows_of: dict[Feed, RowList] = {}
        if len(rows) > FEW_ROWS:
            owners = owners[rows]
            rows_of = self._grouped(rows, owners)
            rows = rows[owners == SEVERAL]
        for feed, own in self._one_by_one(ids, rows).items():
            known = rows_of.get(feed)
            rows_of[feed] = own if known is None else np.sort(np.concatenate((known, own)))
        for feed, found_rows in rows_of.items():
            carrying = feed.carrying(block, found_rows)
            if len(carrying):
                found.append((feed, carrying))

    def _grouped(self, rows: Rows, owners: npt.NDArray[np.int32]) -> dict[Feed, RowList]:
        """The rows of series that one feed wants, by feed, ascending."""
        is_single = owners > NOBODY
        if not is_single.all():
            rows, owners = rows[is_single], owners[is_single]
            if not len(rows):
                return {}
        # Of 16 bits numpy sorts by radix.
        small = owners.astype(np.uint16) if len(self._numbered) < 2**16 else owners
        order = np.argsort(small, kind="stable")
        rows, owners = rows[order], owners[order]
        starts = [0, *(np.flatnonzero(owners[1:] != owners[:-1]) + 1).tolist()]
        found: dict[Feed, RowList] = {}
        for number, start, end in zip(
            owners[starts].tolist(), starts, [*starts[1:], len(rows)], strict=True
        ):
            feed = self._numbered[number]
            if feed is not None:
                found[feed] = rows[start:end]
        return found

    def _one_by_one(self, ids: npt.NDArray[np.int32], rows: Rows) -> dict[Feed, list[int]]:
        """The same for few rows, and for series that several feeds want."""
        rows_of: dict[Feed, list[int]] = {}
        by_series = self._by_series
        for row, series_id in zip(rows.tolist(), ids[rows].tolist(), strict=True):
            for feed in by_series[series_id]:
                own = rows_of.get(feed)
                if own is None:
                    rows_of[feed] = [row]
                else:
                    own.append(row)
        return rows_of

    def _know(self, ids: npt.NDArray[np.int32]) -> None:
        """Find out who wants the series that have not come by yet."""
        highest = int(ids.max())
        if highest >= len(self._is_known):
            size = max(2 * len(self._is_known), highest + 1)
            self._is_known = _grown(self._is_known, size)
            owner = np.zeros(size, np.int32)
            owner[: len(self._owner)] = self._owner
            self._owner = owner
        is_known = self._is_known[ids]
        if is_known.all():
            return
        for series_id in np.unique(ids[~is_known]).tolist():
            name = self.views.name_of(series_id)
            if name is None:
                continue
            self._is_known[series_id] = True
            wanting = [f for f in self._by_device.get(name.device_id, ()) if f.wants(series_id)]
            if wanting:
                self._by_series[series_id] = wanting
                self._own(series_id)


class _Table:
    """Which series a feed wants: flags by series id, looked up when a series first comes by."""

    __slots__ = ("_feed", "_is_known", "_is_wanted")

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._is_known: Flags = np.zeros(1024, np.bool_)
        self._is_wanted: Flags = np.zeros(1024, np.bool_)

    def clear(self) -> None:
        self._is_known[:] = False

    def rows_in(self, block: Block) -> RowList:
        ids = block.series_ids
        highest = int(ids.max())
        if highest >= len(self._is_known):
            size = max(2 * len(self._is_known), highest + 1)
            self._is_known = _grown(self._is_known, size)
            self._is_wanted = _grown(self._is_wanted, size)
        is_known = self._is_known[ids]
        if not is_known.all():
            for series_id in np.unique(ids[~is_known]).tolist():
                self._is_wanted[series_id] = self._feed.wants(series_id)
                # One that is not in the catalogue yet is asked about again.
                self._is_known[series_id] = self._feed.views.name_of(series_id) is not None
        return np.flatnonzero(self._is_wanted[ids])


def _rows_among(ids: npt.NDArray[np.int32], wanted: npt.NDArray[np.int32]) -> RowList:
    if len(wanted) == 1:
        return np.flatnonzero(ids == wanted[0])
    return np.flatnonzero(np.isin(ids, wanted))


def _grown(flags: Flags, size: int) -> Flags:
    more = np.zeros(size, np.bool_)
    more[: len(flags)] = flags
    return more
