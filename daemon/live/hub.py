"""Passes what is committed to everybody who listens: each entry once to each feed that wants it.
How it is written to lines is live/dispatch's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import ceil
from typing import Any

from daemon.domain.access import Principal
from daemon.domain.cursors import Cursor
from daemon.domain.figures import DELAY_SECONDS, Histogram
from daemon.domain.ids import new_id
from daemon.domain.interest import Interest
from daemon.live.connection import Budget, Connection, Line, Outlet
from daemon.live.dispatch import TICK_S, Dispatch, HubLimits
from daemon.live.feed_kinds import LatestFeed, make_feed
from daemon.live.feeds import Feed, FeedKey, feed_key
from daemon.live.index import Index
from daemon.live.message import Message, told
from daemon.live.ring import Entry, Place, Ring
from daemon.live.views import Views
from daemon.log import get_logger

log = get_logger()

SWEEP_EVERY_S = 0.002
"""Sweeps begin at least this far apart; what comes meanwhile goes together."""
SLICE_S = 0.005
"""After so long everybody else gets a turn."""
FEEDS_PER_LOOK = 16
"""Feeds, each with few lines, between two looks at the clock."""
HEARTBEAT_S = 30
DEAD_AFTER_S = 60.0
IDLE_AFTER_S = 300.0
ABORT_AFTER_S = 5.0
GOODBYE_S = 1.0
"""A shutdown is spread over at most this."""
SLOW, RESTART, IDLE, DEAD, FAILED = 4008, 1012, 1000, 1011, 1011
"""Close codes: contract 8, and RFC 6455, section 7.4.1."""


class Hub:
    """Nothing here awaits a socket. `run` is the only one that sends points."""

    def __init__(self, views: Views, *, ring: Ring, limits: HubLimits | None = None) -> None:
        self.views = views
        self.ring = ring
        self.index = Index(views)
        self.dispatch = Dispatch(views, ring, limits or HubLimits())
        self._feeds: dict[FeedKey, Feed] = {}
        self._connections: dict[Connection, None] = {}
        self._wheel: list[dict[Connection, None]] = [{} for _ in range(HEARTBEAT_S)]
        self._next_slot = 0
        self._due_feeds: dict[int, list[Feed]] = {}
        self._leaving: dict[Connection, float] = {}
        self._wake = asyncio.Event()
        self._second = int(self.dispatch.now_s)
        self._new_since_s: float | None = None
        self.delay_s = Histogram(DELAY_SECONDS)
        """From an entry being published here to its messages being with the sockets."""
        self._slice_end_s = 0.0
        self._is_closing = False

    # -- what is new -------------------------------------------------------------------------

    def begin(self, position: int) -> None:
        """Start behind this position, with an empty ring."""
        self.ring.begin(position)
        self.dispatch.swept = position

    def preload(self, position: int, entries: Iterable[Entry]) -> None:
        """Begin with everything behind the position that is in the views already, ascending."""
        self.begin(position)
        for entry in entries:
            self.ring.append(entry)
            self.ring.pinned = entry.seq
        self.dispatch.swept = self.ring.head

    def publish(self, entry: Entry) -> None:
        """The next entry of the order; it is passed on by `run`."""
        self.ring.append(entry)
        if self._new_since_s is None:
            self._new_since_s = self.dispatch.now_s
        self._wake.set()

    def covers(self, seq: int) -> bool:
        """Whether everything after `seq` can be had without the database."""
        return seq >= self.ring.floor

    @property
    def head(self) -> Cursor:
        """The newest place: who joins now is told what comes after it."""
        return self.views.cursor((self.dispatch.swept, 0))

    # -- connections -------------------------------------------------------------------------

    def connect(
        self, outlet: Outlet, principal: Principal, *, budget: Budget, is_mute: bool = False
    ) -> Connection:
        """Register a socket; `is_mute` when its client can't say anything (SSE)."""
        connection_id = new_id("con", now_us=self.views.clock.now_us())
        connection = Connection(outlet, principal, connection_id=connection_id, budget=budget)
        connection.is_mute = is_mute
        connection.seen_s = connection.heard_s = self.dispatch.now_s
        connection.slot = self._next_slot
        self._next_slot = (self._next_slot + 1) % HEARTBEAT_S
        self._wheel[connection.slot][connection] = None
        self._connections[connection] = None
        return connection

    def leave(self, connection: Connection) -> None:
        """The socket is gone; may be called again."""
        if connection.is_gone:
            return
        connection.is_gone = connection.is_closing = True
        for line in list(connection.lines):
            self._remove(line)
        self._connections.pop(connection, None)
        self._wheel[connection.slot].pop(connection, None)
        self._leaving.pop(connection, None)
        self.dispatch.slow.pop(connection, None)
        self.dispatch.ready.pop(connection, None)

    def drained(self, connection: Connection) -> None:
        """Its outlet is clear again."""
        if not connection.is_gone:
            self.dispatch.drained(connection)
            self._wake.set()

    def send(
        self,
        connection: Connection,
        kind: str,
        data: dict[str, Any],
        *,
        cursor: Cursor | None = None,
    ) -> None:
        """A control message, beside the budget; of kind `error`, `data` is the error itself."""
        if not connection.is_gone:
            self.dispatch.say(connection, kind, data, cursor=cursor)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Say goodbye; a socket that does not go is ended after ABORT_AFTER_S."""
        if connection.is_closing:
            return
        connection.is_closing = True
        self.dispatch.slow.pop(connection, None)
        self._leaving[connection] = self.dispatch.now_s + ABORT_AFTER_S
        connection.outlet.close(code, reason)

    # -- subscriptions -----------------------------------------------------------------------

    def join(
        self, connection: Connection, key: str, interest: Interest, *, after: Cursor | None
    ) -> None:
        """Follow from `after`, which the ring covers, or from the head; the caller has told the
        client so.

        A channel that the key has already is replaced.
        """
        connection.held.pop(key, None)
        for line in list(connection.lines):
            if line.key == key and line.feed.channel in interest.channels:
                self._remove(line)
        for channel in interest.channels:
            feed = self._feed(interest.of(channel), connection.principal)
            line = Line(connection, feed, key=key)
            connection.lines.append(line)
            self._place(line, after)
        self._wake.set()

    def part(self, connection: Connection, key: str) -> None:
        """Unsubscribe; an unknown key is no error."""
        connection.held.pop(key, None)
        for line in [line for line in connection.lines if line.key == key]:
            self._remove(line)

    def _feed(self, interest: Interest, principal: Principal) -> Feed:
        key = feed_key(interest, principal)
        feed = self._feeds.get(key)
        if feed is None:
            if self.views.refresh():
                self.index.clear()
            feed = self._feeds[key] = make_feed(interest, principal, self.views)
            feed.key = key
            self.index.add(feed)
        return feed

    def _place(self, line: Line, after: Cursor | None) -> None:
        """Give a new line its place in the order."""
        feed, dispatch = line.feed, self.dispatch
        head: Place = (dispatch.swept, 0)
        place = head if after is None else self.ring.settled((after.seq, after.offset))
        if isinstance(feed, LatestFeed):
            # What it shows first is as new as can be, whatever was seen before.
            place, line.snapshot = head, feed.devices()
        elif place == head and dispatch.level(line):
            return
        if not feed.news:
            feed.floor = dispatch.swept
        if place[0] < feed.floor:
            feed.extend(self.ring, place, self.index.matcher(feed))
        dispatch.lag(line, place, taken=None if place > head else feed.taken_at(place))
        dispatch.queue(line.connection)

    def _remove(self, line: Line) -> None:
        feed = line.feed
        line.connection.lines.remove(line)
        # A delivery that is under way passes it by.
        line.round = feed.round
        if line.place is None:
            feed.lines.pop(line, None)
        else:
            feed.lagging -= 1
            feed.settle()
        if not feed.lines and not feed.lagging:
            self._feeds.pop(feed.key, None)
            self.index.remove(feed)

    # -- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Sweep, flush and look after connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(self._wait_s(), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            started_s = self.dispatch.now_s
            try:
                await self.turn()
            except Exception:
                log.error("hub_turn_failed", exc_info=True)
            spare_s = SWEEP_EVERY_S - (self.dispatch.now_s - started_s)
            await asyncio.sleep(max(0.0, spare_s))

    def _wait_s(self) -> float:
        """Until the next tick or second at which something is due."""
        now_s = self.dispatch.now_s
        ticks = [*self.dispatch.due, *self._due_feeds]
        next_s = float(int(now_s) + 1)
        if ticks:
            next_s = min(next_s, min(ticks) * TICK_S)
        return 0.0 if self.dispatch.ready else max(0.0, next_s - now_s)

    async def turn(self) -> None:
        """Pass on what is new, then what waited for its time."""
        self._slice_end_s = self.dispatch.now_s + SLICE_S
        await self._sweep()
        await self._flush_due()
        self.dispatch.forget_pieces()
        second = int(self.dispatch.now_s)
        while self._second < second:
            self._second = max(self._second + 1, second - HEARTBEAT_S)
            self._look_after(self._second)
        if self._is_closing:
            await self._say_goodbye()

    async def _sweep(self) -> None:
        """Find who wants what is new, and give it to those that are level."""
        dispatch = self.dispatch
        start, target = dispatch.swept, self.ring.head
        if start == target:
            return
        entries, since_s = list(self.ring.after(start)), self._new_since_s
        self._new_since_s = None
        touched = self._hand_out(entries, start)
        dispatch.swept = self.ring.pinned = target
        dispatch.counters.sweeps += 1
        for number, feed in enumerate(touched):
            if not number % FEEDS_PER_LOOK:
                await self._breathe()
            if feed.is_paced:
                self._schedule(feed)
            else:
                await self._deliver(feed, target)
            if feed.lagging:
                feed.trim(self.ring, touches_max=dispatch.limits.pending_flushes_max)
        for entry in entries:
            entry.forget_texts()
        if touched and since_s is not None:
            self.delay_s.observe(dispatch.now_s - since_s)

    def _hand_out(self, entries: list[Entry], start: int) -> dict[Feed, None]:
        """Give each feed the rows that it wants; returns the feeds that want some."""
        if self.views.refresh():
            self.index.clear()
        touched: dict[Feed, None] = {}
        for entry in entries:
            for feed, rows in self.index.touched(entry):
                if feed not in touched:
                    touched[feed] = None
                    feed.touch(swept=start)
                feed.take(entry, rows)
        return touched

    async def _deliver(self, feed: Feed, target: int) -> None:
        """One feed that fails is told as a loss; the others go on."""
        try:
            for _ in self.dispatch.deliver(feed, target):
                await self._breathe()
        except Exception:
            log.error("feed_failed", channel=feed.channel, upto=target, exc_info=True)
            self.dispatch.give_up(feed, target)

    async def _breathe(self) -> None:
        """Let everybody else have a turn when this one has lasted long enough."""
        if self.dispatch.now_s >= self._slice_end_s:
            await asyncio.sleep(0)
            self._slice_end_s = self.dispatch.now_s + SLICE_S

    def _schedule(self, feed: Feed) -> None:
        if not feed.is_scheduled:
            feed.is_scheduled = True
            due_s = max(feed.due_s, self.dispatch.now_s)
            self._due_feeds.setdefault(int(due_s / TICK_S), []).append(feed)

    async def _flush_due(self) -> None:
        dispatch = self.dispatch
        now_tick = int(dispatch.now_s / TICK_S)
        for tick in sorted(tick for tick in self._due_feeds if tick <= now_tick):
            for feed in self._due_feeds.pop(tick):
                feed.is_scheduled = False
                feed.due_s = (now_tick + 1) * TICK_S + (feed.interest.max_frequency_ms or 0) / 1000
                await self._deliver(feed, dispatch.swept)
                await self._breathe()
        for tick in sorted(tick for tick in dispatch.due if tick <= now_tick):
            dispatch.ready.update(dict.fromkeys(dispatch.due.pop(tick)))
        ready, dispatch.ready = dispatch.ready, {}
        for connection in ready:
            try:
                dispatch.flush(connection)
            except Exception:
                log.error("flush_failed", connection_id=connection.id, exc_info=True)
                self.close(connection, FAILED, "what was asked for can't be sent")
            await self._breathe()

    # -- every second ------------------------------------------------------------------------

    def _look_after(self, second: int) -> None:
        """Heartbeats of one thirtieth of the connections; slow, dead and idle ones are closed."""
        now_s = self.dispatch.now_s
        self._close_slow(now_s)
        for connection, at_s in list(self._leaving.items()):
            if at_s > now_s:
                break
            self._leaving.pop(connection)
            connection.outlet.abort()
        pings: dict[Cursor, Message] = {}
        for connection in list(self._wheel[second % HEARTBEAT_S]):
            if not connection.is_closing and not self._has_ended(connection, now_s):
                self._ping(connection, pings)

    def _ping(self, connection: Connection, pings: dict[Cursor, Message]) -> None:
        if connection.is_slow:
            return
        cursor = self.dispatch.cursor_of(connection)
        message = pings.get(cursor)
        if message is None:
            text = self.views.now_text()
            message = pings[cursor] = told("ping", timestamp=text, cursor=cursor, data={})
        connection.outlet.write(message)

    def _has_ended(self, connection: Connection, now_s: float) -> bool:
        """Whether it was closed as dead or idle (C-17)."""
        if not connection.is_mute and now_s - connection.seen_s > DEAD_AFTER_S:
            self.close(connection, DEAD, "no sign of life for 60 seconds")
        elif not connection.lines and now_s - connection.heard_s > IDLE_AFTER_S:
            self.close(connection, IDLE, "nothing was asked for in 5 minutes")
        return connection.is_closing

    def _close_slow(self, now_s: float) -> None:
        """Close who took nothing for the grace; what it misses is told."""
        dispatch = self.dispatch
        for connection, since_s in list(dispatch.slow.items()):
            if now_s - since_s < dispatch.limits.slow_grace_s:
                break
            for line in connection.lines:
                start = dispatch.place_of(line)
                points = line.feed.pending(line) if line.place is not None else 0
                if start < (dispatch.swept, 0):
                    dispatch.tell_loss(connection, start, (dispatch.swept, 0), points=points)
            dispatch.counters.closed_slow += 1
            self.close(connection, SLOW, "too slow: nothing was taken for 10 seconds")

    # -- the end -----------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Tell everybody where they are, and close 1012, spread over GOODBYE_S."""
        self._is_closing = True
        self._wake.set()

    async def _say_goodbye(self) -> None:
        everybody = [one for one in self._connections if not one.is_closing]
        pause_s = GOODBYE_S / 20
        step = max(1, ceil(len(everybody) / 20))
        for at in range(0, len(everybody), step):
            for connection in everybody[at : at + step]:
                if not connection.is_closing:
                    self.send(connection, "shutdown", {"reason": "restart"})
                    self.close(connection, RESTART, "the service restarts")
            await asyncio.sleep(pause_s)

    def numbers(self) -> dict[str, int]:
        """How the streams do, for the detailed health."""
        counters = self.dispatch.counters
        feeds = self._feeds.values()
        return {
            "connections": len(self._connections),
            "connections_sse": sum(one.is_mute for one in self._connections),
            "lines": sum(len(one.lines) for one in self._connections),
            "feeds": len(self._feeds),
            "lagging_lines": sum(feed.lagging for feed in feeds),
            "slow_connections": len(self.dispatch.slow),
            "messages": counters.messages,
            "messages_sse": counters.messages_sse,
            "sweeps": counters.sweeps,
            "dropped_points": counters.dropped_points,
            "gaps": counters.gaps,
            "closed_slow": counters.closed_slow,
            **self.ring.numbers(),
        }
