"""Writes flushes: one message to all lines that are level, the rest to each that lags when its
budget and its socket allow. What is new is found by live/hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

from daemon.domain.cursors import Cursor
from daemon.live.connection import Connection, Line
from daemon.live.feed_kinds import LatestFeed
from daemon.live.feeds import Feed, Piece
from daemon.live.message import Message, told
from daemon.live.ring import Place, Ring
from daemon.live.views import Views

TICK_S = 0.05
"""What waits for its time waits for the next multiple of this, so that many share one message."""
LINES_PER_LOOK = 32
"""Deliveries between two looks at the clock."""
PIECES_PER_TURN = 8
"""Messages of one large flush; each may take a millisecond to make."""
AHEAD_POLL_S = 0.05
PIECES_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class HubLimits:
    """How far a reader may lag.

    pending_flushes_max  over it the oldest are dropped
    slow_grace_s         how long a socket may take nothing before it is closed
    """

    pending_flushes_max: int = 1_000
    slow_grace_s: float = 10.0


@dataclass(slots=True)
class HubCounters:
    """Since the start of this process."""

    messages: int = 0
    messages_sse: int = 0
    sweeps: int = 0
    dropped_points: int = 0
    gaps: int = 0
    closed_slow: int = 0


class Dispatch:
    """`swept` is how far the order has been passed to the feeds.

    ready   connections that may be flushed now
    due     connections by the tick at which they may
    slow    connections whose socket is not clear, by since when; oldest first
    """

    def __init__(self, views: Views, ring: Ring, limits: HubLimits) -> None:
        self.views = views
        self.ring = ring
        self.limits = limits
        self.counters = HubCounters()
        self.swept = 0
        self.ready: dict[Connection, None] = {}
        self.due: dict[int, list[Connection]] = {}
        self.slow: dict[Connection, float] = {}
        self._pieces: dict[tuple[Any, ...], Piece] = {}
        self._pieces_bytes = 0

    @property
    def now_s(self) -> float:
        return self.views.clock.monotonic_s()

    # -- places ------------------------------------------------------------------------------

    def place_of(self, line: Line) -> Place:
        """What the line has got so far."""
        if line.place is not None:
            return line.place
        feed = line.feed
        if feed.since is not None and line.round < feed.round:
            return feed.since
        return self.swept, 0

    def cursor_of(self, connection: Connection) -> Cursor:
        """The smallest place of its lines: nothing behind it was missed."""
        return self.views.cursor(self._lowest(connection))

    def _lowest(self, connection: Connection) -> Place:
        places = [self.place_of(line) for line in connection.lines]
        return min([*places, *connection.held.values()], default=(self.swept, 0))

    def lag(self, line: Line, place: Place, *, taken: int | None) -> None:
        """From now on it has a place of its own."""
        feed = line.feed
        feed.lines.pop(line, None)
        feed.lagging += 1
        line.place, line.taken = place, taken
        line.skip, line.target = 0, None

    def level(self, line: Line) -> bool:
        """Put a line that has got everything back among those that are level, if it can be now."""
        feed = line.feed
        if feed.is_paced and feed.since is not None:
            return False
        if line.place is not None:
            feed.lagging -= 1
            line.place = None
        line.round = feed.round
        feed.lines[line] = None
        feed.settle()
        return True

    # -- the level ---------------------------------------------------------------------------

    def deliver(self, feed: Feed, target: int) -> Iterator[None]:
        """Give the news to all lines that are level; a step yields after some of them."""
        since = feed.since
        if since is None:
            return
        end = (target, 0)
        piece: Piece | None = None
        message: Message | None = None
        now_s = self.now_s
        for number, line in enumerate(_lines_of(feed)):
            if number and not number % LINES_PER_LOOK:
                yield
                now_s = self.now_s
            connection = line.connection
            if line.place is not None or line.round >= feed.round:
                continue
            if not _may_send(connection, now_s):
                self.lag(line, since, taken=feed.taken_at(since))
                self.queue(connection)
                continue
            if message is None or piece is None:
                piece = self.piece(feed, since, target=target, is_level=True)
                if not piece.count:
                    break
                message = self._message(piece)
            connection.outlet.write(message)
            self.counters.messages += 1
            self.counters.messages_sse += connection.is_mute
            line.round = feed.round
            line.flushed_s = now_s
            if piece.place != end or piece.skip:
                self._go_on_later(line, piece, target)
            elif not connection.outlet.is_clear:
                self.slow_down(connection, now_s)
        feed.since = None
        feed.settle()

    def give_up(self, feed: Feed, target: int) -> None:
        """What is new can't be written: whoever has not got it is told of a loss."""
        since = feed.since
        if since is None:
            return
        points = feed.rows_total - feed.taken_at(since)
        for line in _lines_of(feed):
            if line.round < feed.round:
                line.round = feed.round
                self.tell_loss(line.connection, since, (target, 0), points=points)
        feed.since = None
        feed.settle()

    def _go_on_later(self, line: Line, piece: Piece, target: int) -> None:
        """The rest of this flush follows piece by piece; it is paid for."""
        self.lag(line, piece.place, taken=line.feed.taken_at(piece.place))
        line.skip, line.target = piece.skip, target
        line.connection.is_paid = True
        self.queue(line.connection)

    # -- those that lag ----------------------------------------------------------------------

    def queue(self, connection: Connection, *, at_s: float = 0.0) -> None:
        """Flush it as soon as its budget allows, not before `at_s`; a slow one once it drains."""
        if connection.is_slow or connection.is_queued or connection.is_closing:
            return
        connection.is_queued = True
        if not connection.is_paid and connection.lines:
            at_s = max(at_s, connection.allowed_at_s)
        if at_s <= self.now_s:
            self.ready[connection] = None
        else:
            self.due.setdefault(ceil(at_s / TICK_S), []).append(connection)

    def slow_down(self, connection: Connection, now_s: float) -> None:
        """Nothing more is written until its outlet says that it is clear."""
        if not connection.is_slow:
            connection.is_slow = True
            self.slow[connection] = now_s

    def drained(self, connection: Connection) -> None:
        """Its outlet is clear again."""
        self.slow.pop(connection, None)
        connection.is_slow = False
        if any(line.place is not None for line in connection.lines):
            self.queue(connection)

    def flush(self, connection: Connection) -> None:
        """Send what each of its lagging lines has not got, as far as is allowed now."""
        connection.is_queued = False
        if connection.is_closing:
            return
        now_s = self.now_s
        if not connection.outlet.is_clear:
            self.slow_down(connection, now_s)
            return
        again_s: float | None = None
        for line in list(connection.lines):
            if line.place is None:
                continue
            at_s = self._flush_line(line, now_s)
            if connection.is_slow:
                return
            if at_s is not None:
                again_s = at_s if again_s is None else min(again_s, at_s)
        connection.is_paid = any(line.target is not None for line in connection.lines)
        if again_s is not None:
            self.queue(connection, at_s=again_s)

    def _flush_line(self, line: Line, now_s: float) -> float | None:
        """Returns when to look again, or None."""
        feed = line.feed
        assert line.place is not None
        if line.place > (self.swept, 0):
            # It comes from a daemon that is ahead of this one.
            return now_s + AHEAD_POLL_S
        if line.taken is None:
            line.taken = feed.taken_at(line.place)
        feed.trim(self.ring, touches_max=self.limits.pending_flushes_max)
        if feed.lost(line):
            self._drop(line)
        if line.target is None:
            if line.snapshot is None and feed.pending(line) <= 0:
                line.place = (self.swept, 0)
                return None if self.level(line) else max(feed.due_s, now_s + TICK_S)
            at_s = self._start(line, now_s)
            if at_s is not None:
                return at_s
        if not self._write_pieces(line, now_s):
            return now_s
        line.target = None
        # A flush that took its time ends behind what came meanwhile.
        return now_s if feed.pending(line) > 0 or not self.level(line) else None

    def _start(self, line: Line, now_s: float) -> float | None:
        """Begin a flush up to now and count it; else returns when that is allowed."""
        connection, feed = line.connection, line.feed
        if feed.is_paced and line.snapshot is None:
            at_s = line.flushed_s + (feed.interest.max_frequency_ms or 0) / 1000
            if now_s < at_s:
                return at_s
        if not connection.is_paid:
            if not connection.takes_one(now_s):
                return connection.allowed_at_s
            connection.is_paid = True
        line.target = self.swept
        line.flushed_s = now_s
        return None

    def _write_pieces(self, line: Line, now_s: float) -> bool:
        """Write until the flush is over (True), or the socket is not clear or others have to have
        a turn (False)."""
        outlet, target = line.connection.outlet, line.target
        assert target is not None
        pieces = 0
        while line.snapshot is not None or line.place != (target, 0):
            pieces += 1
            if pieces > PIECES_PER_TURN:
                return False
            if not outlet.is_clear:
                self.slow_down(line.connection, now_s)
                return False
            if line.snapshot is not None:
                self._write_snapshot(line)
            else:
                self._write_piece(line, target)
        return True

    def _write_piece(self, line: Line, target: int) -> None:
        assert line.place is not None
        piece = self.piece(line.feed, line.place, target=target, skip=line.skip)
        line.place, line.skip = piece.place, piece.skip
        line.taken = line.feed.taken_at(piece.place)
        if not piece.count:
            return
        connection = line.connection
        if connection.is_single:
            message = self._message(piece)
        else:
            place = self._lowest(connection)
            message = self.views.frame(piece.kind, place=place, data=piece.data)
        connection.outlet.write(message)
        self.counters.messages += 1
        self.counters.messages_sse += connection.is_mute

    def _write_snapshot(self, line: Line) -> None:
        """The first is a `snapshot`; what does not fit follows as updates with all fields."""
        feed, devices = line.feed, line.snapshot
        assert isinstance(feed, LatestFeed)
        assert devices is not None
        data, count, shown = feed.snapshot_of(devices, start=line.shown)
        is_first, line.shown = not line.shown, shown
        if shown >= len(devices):
            line.snapshot = None
        if count or is_first:
            self.tell(line.connection, "snapshot" if is_first else "update", data)

    def _drop(self, line: Line) -> None:
        """Tell what is lost, and go on behind it."""
        feed = line.feed
        lost = feed.lost(line)
        assert line.place is not None
        start = line.place
        line.place, line.skip, line.target = (feed.floor, 0), 0, None
        line.taken = (line.taken or 0) + lost
        self.tell_loss(line.connection, start, line.place, points=lost)
        if isinstance(feed, LatestFeed):
            line.snapshot, line.shown = feed.devices(), 0

    def tell_loss(self, connection: Connection, start: Place, end: Place, *, points: int) -> None:
        """`warning` and `gap` where the loss lies in the order."""
        self.counters.dropped_points += points
        self.counters.gaps += 1
        span = {"from": str(self.views.cursor(start)), "to": str(self.views.cursor(end))}
        self.say(connection, "warning", {"dropped": points, **span})
        self.say(connection, "gap", {**span, "points": points, "reason": "slow_consumer"})

    # -- messages ----------------------------------------------------------------------------

    def say(
        self,
        connection: Connection,
        kind: str,
        data: dict[str, Any],
        *,
        cursor: Cursor | None = None,
    ) -> None:
        """A message beside the budget; without a cursor, that of the connection."""
        place = cursor or self.cursor_of(connection)
        text = self.views.now_text()
        connection.outlet.write(told(kind, timestamp=text, cursor=place, data=data))

    def tell(self, connection: Connection, kind: str, data: bytes) -> None:
        """The same of JSON text."""
        place = self._lowest(connection)
        connection.outlet.write(self.views.frame(kind, place=place, data=data))
        self.counters.messages += 1
        self.counters.messages_sse += connection.is_mute

    def piece(
        self, feed: Feed, place: Place, *, target: int, skip: int = 0, is_level: bool = False
    ) -> Piece:
        """The next message behind a place, made once for all who are there."""
        if not feed.lagging and len(feed.lines) == 1:
            # Nobody else can be there.
            return feed.piece(place, skip=skip, target=target, is_level=is_level)
        key = (feed, place, target, skip, is_level)
        piece = self._pieces.get(key)
        if piece is None:
            piece = feed.piece(place, skip=skip, target=target, is_level=is_level)
            self._pieces[key] = piece
            self._pieces_bytes += len(piece.data)
            if self._pieces_bytes > PIECES_BYTES_MAX:
                self.forget_pieces()
        return piece

    def forget_pieces(self) -> None:
        self._pieces.clear()
        self._pieces_bytes = 0

    def _message(self, piece: Piece) -> Message:
        message = piece.message
        if message is None:
            message = self.views.frame(piece.kind, place=piece.place, data=piece.data)
            piece.message = message
        return message


def _lines_of(feed: Feed) -> list[Line]:
    return cast("list[Line]", list(feed.lines))


def _may_send(connection: Connection, now_s: float) -> bool:
    """Whether a flush to all may go to it now, alone and as it is; counts it if so."""
    if connection.is_slow or connection.is_queued or not connection.is_single:
        return False
    return connection.takes_one(now_s)
