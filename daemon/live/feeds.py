"""One feed per distinct thing that is listened to: which entries it wants, and the messages for
what is new. Who is sent them when is live/hub's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daemon.domain.access import Principal
from daemon.domain.block import Block, concat
from daemon.domain.interest import Interest
from daemon.domain.json_points import FEW_ROWS, point_texts
from daemon.domain.merge import EMPTY, winners
from daemon.domain.tags import rows_carrying
from daemon.live.message import Message
from daemon.live.ring import Entry, Place, Ring, RowList
from daemon.live.views import Views

COMPACT_ROWS = 20_000
"""Over so many rows waiting for an interval to end, the newest of each series are kept only."""
FeedKey = tuple[Any, ...]
Chosen = tuple[Entry, RowList]


def feed_key(interest: Interest, principal: Principal) -> FeedKey:
    """Equal for subscriptions that get the same messages; `interest` is of one channel."""
    sees_keys = "keys" in principal.scopes or "admin" in principal.scopes
    return interest, principal.devices, principal.groups, principal.metrics, sees_keys


class Reader(Protocol):
    """What a feed has to know of a line: how many of all its rows it has got or lost."""

    @property
    def taken(self) -> int | None: ...


class News:
    """The rows of one entry that a feed wants, with their number in all of its rows before."""

    __slots__ = ("before", "count", "entry", "rows", "seq", "touch")

    def __init__(self, entry: Entry, rows: RowList, *, before: int, touch: int) -> None:
        self.seq = entry.seq
        self.entry = entry
        self.rows = rows
        self.count = len(rows)
        self.before = before
        self.touch = touch


class Piece:
    """One message of a flush; `place` and `skip` are where the reader is after it."""

    __slots__ = ("count", "data", "kind", "message", "place", "skip")

    def __init__(self, kind: str, data: bytes, *, count: int, place: Place, skip: int = 0) -> None:
        self.kind = kind
        self.data = data
        self.count = count
        self.place = place
        self.skip = skip
        self.message: Message | None = None


class Feed:
    """What one shape of subscription gets: here every point, in commit order.

    lines    the lines that are level: they have got everything up to `since`, or all when None
    lagging  how many lines have a place of their own
    news     what lies behind the place of any line that is not level, ascending
    floor    news begins after this seq
    rows_total  rows of this feed until now, in no particular unit of time
    round    counts its flushes; touches counts the sweeps that had rows for it
    """

    kind = "update"
    is_paced = False
    """It is flushed at intervals rather than at once."""

    def __init__(self, interest: Interest, principal: Principal, views: Views) -> None:
        self.interest = interest
        self.principal = principal
        self.views = views
        self.key: FeedKey = ()
        self.channel = interest.channels[0]
        self.tags = dict(interest.tags)
        self.lines: dict[Reader, None] = {}
        self.lagging = 0
        self.since: Place | None = None
        self.round = 0
        self.touches = 0
        self.news: list[News] = []
        self.floor = 0
        self.rows_total = 0
        self.due_s = 0.0
        self.is_scheduled = False
        self._rows_kept_max = COMPACT_ROWS

    # -- which series ------------------------------------------------------------------------

    @property
    def is_narrow(self) -> bool:
        """Whether it names its devices."""
        return self.interest.devices is not None

    @property
    def wants_all(self) -> bool:
        """Whether there is nothing to look up per series."""
        interest = self.interest
        return (
            interest.devices is None
            and interest.metrics is None
            and interest.groups is None
            and self.principal.sees_everything
        )

    def wants(self, series_id: int) -> bool:
        """Whether points of this series are asked for and may be seen."""
        name = self.views.name_of(series_id)
        if name is None:
            return False
        interest = self.interest
        return (
            (interest.devices is None or name.device_id in interest.devices)
            and (interest.metrics is None or name.metric_name in interest.metrics)
            and self._in_groups(name.device_id)
            and self.principal.sees_device(name.device_id)
            and self.principal.sees_metric(name.metric_name)
        )

    def _in_groups(self, device_id: str) -> bool:
        groups = self.interest.groups
        if groups is None:
            return True
        return device_id in self.views.registry.membership.members(groups)

    def series_ids(self) -> npt.NDArray[np.int32]:
        """The series of a narrow feed that are known now, ascending."""
        registry = self.views.registry
        found = [
            series_id
            for device_id in self.interest.devices or ()
            for series_id in registry.metrics_of(device_id).values()
            if self.wants(series_id)
        ]
        return np.array(sorted(found), np.int32)

    # -- which rows --------------------------------------------------------------------------

    def carrying(self, block: Block, rows: RowList) -> RowList:
        """Those of the rows that have the tags asked for."""
        if not self.tags or not len(rows):
            return rows
        at = np.asarray(rows, np.intp)
        return at[rows_carrying(block.take(at), self.tags)]

    # -- news --------------------------------------------------------------------------------

    def touch(self, *, swept: int) -> None:
        """A sweep that begins behind `swept` has rows for it."""
        if not self.news:
            self.floor = swept
        if self.since is None:
            self.since = (swept, 0)
            self.round += 1
        self.touches += 1

    def take(self, entry: Entry, rows: RowList) -> None:
        """Rows of the next entry, within one sweep."""
        self.news.append(News(entry, rows, before=self.rows_total, touch=self.touches))
        self.rows_total += len(rows)
        if self.is_paced and self.rows_total - self.news[0].before > self._rows_kept_max:
            self._compact()

    def _compact(self) -> None:
        """Put one item in the place of all: the newest row of each series.

        A line that lags may be sent a value again, but none is missed.
        """
        news = self.news
        found = _blocks_of([(item.entry, item.rows) for item in news])
        if not found:
            return
        block = _newest_rows(concat(found))
        rows = np.arange(len(block))
        item = News(Entry(news[-1].seq, block), rows, before=news[0].before, touch=self.touches)
        item.count = self.rows_total - item.before
        self.news = [item]
        self._rows_kept_max = item.count + max(COMPACT_ROWS, 4 * len(block))

    def news_after(self, place: Place) -> list[News]:
        return self.news[bisect_right(self.news, place[0], key=_seq_of) :]

    def pending(self, line: Reader) -> int:
        """Rows that the line has not got."""
        return self.rows_total - self._taken(line)

    def lost(self, line: Reader) -> int:
        """Rows that the line has not got, and can't get any more."""
        oldest = self.news[0].before if self.news else self.rows_total
        return max(0, oldest - self._taken(line))

    def _taken(self, line: Reader) -> int:
        return self.rows_total if line.taken is None else line.taken

    def trim(self, ring: Ring, *, touches_max: int) -> None:
        """Let go of what has left the ring, and of the oldest over the bound."""
        if self.is_paced:
            return
        news = self.news
        at = 0
        oldest_touch = self.touches - touches_max
        while at < len(news) and (news[at].seq <= ring.floor or news[at].touch <= oldest_touch):
            at += 1
        if at:
            self.floor = news[at - 1].seq
            del news[:at]

    def extend(self, ring: Ring, place: Place, rows_in: Callable[[Entry], RowList]) -> None:
        """Find the news back to `place` in the ring, which covers it."""
        found = [
            (entry, rows) for entry in self._back(ring, place[0]) if len(rows := rows_in(entry))
        ]
        before = self.news[0].before if self.news else self.rows_total
        items = []
        for entry, rows in reversed(found):
            before -= len(rows)
            items.append(News(entry, rows, before=before, touch=self.touches))
        self.news[:0] = reversed(items)
        self.floor = min(self.floor, place[0])

    def _back(self, ring: Ring, seq: int) -> Iterator[Entry]:
        """The entries between there and the news that may have something for it."""
        if self.is_narrow:
            return ring.holding(self.series_ids(), seq, upto=self.floor)
        return ring.after(seq, upto=self.floor)

    def taken_at(self, place: Place) -> int:
        """What a line at this place has got of all rows."""
        seq, offset = place
        news = self.news_after(place)
        if not news:
            return self.rows_total
        first = news[0]
        if offset and first.seq == seq + 1:
            return first.before + sum(1 for row in first.rows if row < offset)
        return first.before

    def settle(self) -> None:
        """Everybody is level: nothing has to be kept."""
        if not self.lagging and self.since is None:
            self.news.clear()
            self._rows_kept_max = COMPACT_ROWS

    # -- messages ----------------------------------------------------------------------------

    def piece(self, place: Place, *, skip: int, target: int, is_level: bool) -> Piece:
        """The next message behind `place`; the last one's place is (target, 0)."""
        del skip, is_level
        chosen, is_all = self._chosen(place, target)
        texts = self._texts(chosen)
        count = _fitting(texts, self.views.message_bytes_max)
        end = (target, 0)
        if count < len(texts) or not is_all:
            end = _end_of(chosen, count)
            del texts[count:]
        data = b'{"data_points":[' + b",".join(texts) + b"]}"
        return Piece(self.kind, data, count=count, place=end)

    def _chosen(self, place: Place, target: int) -> tuple[list[Chosen], bool]:
        """As many rows as one message may have behind the place, and whether these are all."""
        news = self.news
        if len(news) == 1 and not place[1] and place[0] < news[0].seq <= target:
            # What nearly always is: one entry came, and all had got what was before.
            item = news[0]
            if item.count <= self.views.message_points_max:
                return [(item.entry, item.rows)], True
        chosen: list[Chosen] = []
        room = self.views.message_points_max
        for entry, rows in self._rows_between(place, target):
            if len(rows) > room:
                if room:
                    chosen.append((entry, rows[:room]))
                return chosen, False
            chosen.append((entry, rows))
            room -= len(rows)
        return chosen, True

    def _rows_between(self, place: Place, target: int) -> Iterator[Chosen]:
        """The rows behind the place, up to the target."""
        seq, offset = place
        for item in self.news_after(place):
            if item.seq > target:
                return
            rows = item.rows
            if offset and item.seq == seq + 1:
                rows = _rows_from(rows, offset)
            if len(rows):
                yield item.entry, rows

    def _texts(self, chosen: list[Chosen]) -> list[bytes]:
        names = self.views.names
        texts: list[bytes] = []
        waiting: list[Block] = []
        for entry, rows in chosen:
            if entry.block is None:
                continue
            if not entry.wanted and len(rows) > FEW_ROWS:
                waiting.append(entry.block.take(np.asarray(rows, np.intp)))
                continue
            if waiting:
                texts += point_texts(concat(waiting), names)
                waiting = []
            if entry.wanted:
                texts += entry.texts(rows, names)
            else:
                texts += point_texts(entry.block.take(np.asarray(rows, np.intp)), names)
        if waiting:
            texts += point_texts(concat(waiting), names)
        return texts


class NewestFeed(Feed):
    """At intervals, the newest value by time, then seq, of each series."""

    is_paced = True

    def __init__(self, interest: Interest, principal: Principal, views: Views) -> None:
        super().__init__(interest, principal, views)
        self._work: tuple[Place, int, Block] | None = None

    def settle(self) -> None:
        super().settle()
        self._work = None

    def piece(self, place: Place, *, skip: int, target: int, is_level: bool) -> Piece:
        """Inside a flush the place stays where it began: what comes is in no order of places."""
        del is_level
        block = self._newest(place, target)
        rows = np.arange(skip, min(len(block), skip + self.views.message_points_max))
        texts = point_texts(block.take(rows), self.views.names)
        count = _fitting(texts, self.views.message_bytes_max)
        is_last = skip + count >= len(block)
        data = b'{"data_points":[' + b",".join(texts[:count]) + b"]}"
        if is_last:
            return Piece(self.kind, data, count=count, place=(target, 0))
        return Piece(self.kind, data, count=count, place=place, skip=skip + count)

    def _newest(self, place: Place, target: int) -> Block:
        if self._work is not None and self._work[:2] == (place, target):
            return self._work[2]
        blocks = _blocks_of(self._rows_between(place, target))
        block = _newest_rows(concat(blocks)) if blocks else EMPTY
        self._work = (place, target, block)
        return block


def _blocks_of(chosen: Iterable[Chosen]) -> list[Block]:
    return [
        entry.block.take(np.asarray(rows, np.intp))
        for entry, rows in chosen
        if entry.block is not None
    ]


def _newest_rows(block: Block) -> Block:
    """The newest row of each series, in order of arrival."""
    order = winners(block.series_ids, block.times_us)
    ids = block.series_ids if order is None else block.series_ids[order]
    lasts = np.append(np.flatnonzero(ids[1:] != ids[:-1]), len(ids) - 1)
    return block.take(np.sort(lasts if order is None else order[lasts]))


def _seq_of(item: News) -> int:
    return item.seq


def _rows_from(rows: RowList, offset: int) -> RowList:
    if isinstance(rows, list):
        return [row for row in rows if row >= offset]
    return rows[rows >= offset]


def _fitting(texts: list[bytes], room: int) -> int:
    """How many of the texts make one message of `room` bytes; at least one."""
    if sum(map(len, texts)) + len(texts) <= room:
        return len(texts)
    for at, text in enumerate(texts):
        room -= len(text) + 1
        if room < 0:
            return max(1, at)
    return len(texts)


def _end_of(chosen: list[Chosen], count: int) -> Place:
    """The place behind the first `count` of the rows."""
    for entry, rows in chosen:
        if count <= len(rows):
            return entry.seq - 1, int(rows[count - 1]) + 1
        count -= len(rows)
    raise AssertionError("there are not so many rows")
