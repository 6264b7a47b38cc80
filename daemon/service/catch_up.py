"""What lies between a cursor and the ring, read from the journal for one subscription: points and
events in commit order, as messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from daemon.domain.access import Principal
from daemon.domain.block import Block, unpack
from daemon.domain.cursors import Cursor
from daemon.domain.events import ALERT_CHANGES, Event, event_json, sees_event
from daemon.domain.interest import Interest
from daemon.domain.json_points import point_texts
from daemon.live.ring import Place
from daemon.service.changes import Changes, ChangesFilter, Sight
from daemon.store.changes import read_bounded
from daemon.store.events import EventStore
from daemon.store.pool import Database

READ_POINTS = 10_000
"""Blocks are fetched until they hold this many points; where nothing was found, up to the next."""
READ_POINTS_MAX = 80_000
READ_EVENTS = 1_000
ROWS_MAX = 1_000
"""Points whose texts are made at a time."""
MESSAGE_BYTES_MAX = 99_000


@dataclass(frozen=True, slots=True)
class Piece:
    """One message: its kind, the place behind it, and its data as JSON."""

    kind: str
    place: Place
    data: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for what."""

    principal: Principal
    interest: Interest

    def wants(self, channel: str) -> bool:
        return channel in self.interest.channels


class CatchUp:
    """Reads pages of the journal; what each means is decided for one subscription."""

    def __init__(self, database: Database, *, changes: Changes, events: EventStore) -> None:
        self._database = database
        self._changes = changes
        self._events = events

    def sight(self, asked: Asked) -> Sight:
        """What of it may be seen now. Raises Invalid `unknown_group`."""
        interest = asked.interest
        wanted = ChangesFilter(
            interest.devices, interest.metrics, dict(interest.tags), interest.groups or ()
        )
        return self._changes.sight(asked.principal, wanted)

    async def page(
        self, asked: Asked, after: Cursor, *, upto: int, points: int = READ_POINTS
    ) -> Page:
        """What was committed behind the cursor, a bounded part of it. Raises StoreUnavailable."""
        blocks: list[tuple[int, Block]] = []
        end = upto
        if asked.wants("telemetry"):
            rows = await read_bounded(self._database, after.seq, upto=upto, points=points)
            blocks = [(row.seq, unpack(row.body)) for row in rows]
            end = rows[-1].seq if rows else upto
        events: list[Event] = []
        if asked.wants("events") or asked.wants("alerts"):
            events = await self._events.between(after.seq, upto=end, limit=READ_EVENTS)
            if len(events) == READ_EVENTS:
                end = events[-1].seq
        sight = self.sight(asked)
        visible = [event for event in events if _is_asked(asked, sight, event)]
        blocks = [block for block in blocks if block[0] <= end]
        # An offset counts in the next block, wherever that is.
        offset = 0 if blocks else after.offset
        return Page(blocks, visible, Cursor(after.epoch, end, offset))

    def pieces(self, asked: Asked, after: Cursor, page: Page) -> Iterator[Piece]:
        """The messages of a page, one at a time, so that no more than one is kept."""
        sight = self.sight(asked)
        events = iter(page.events)
        event = next(events, None)
        for seq, block in page.blocks:
            while event is not None and event.seq < seq:
                yield from _told(asked, event)
                event = next(events, None)
            offset = after.offset if seq == page.blocks[0][0] else 0
            yield from _updates(sight, seq, block, offset=offset)
        while event is not None:
            yield from _told(asked, event)
            event = next(events, None)


@dataclass(frozen=True, slots=True)
class Page:
    """Blocks and visible events in commit order, and the cursor behind them."""

    blocks: list[tuple[int, Block]]
    events: list[Event]
    cursor: Cursor


def _updates(sight: Sight, seq: int, block: Block, *, offset: int) -> Iterator[Piece]:
    rows = sight.rows_of(block)
    rows = rows[np.searchsorted(rows, offset) :]
    at = 0
    while at < len(rows):
        some = rows[at : at + ROWS_MAX]
        texts = point_texts(block.take(some), sight.names)
        count = _fitting(texts)
        at += count
        place = (seq, 0) if at >= len(rows) else (seq - 1, int(rows[at - 1]) + 1)
        yield Piece("update", place, b'{"data_points":[' + b",".join(texts[:count]) + b"]}")


def _is_asked(asked: Asked, sight: Sight, event: Event) -> bool:
    """Whether it is about what is asked for, and may be seen; as in live/feed_kinds."""
    interest = asked.interest
    if not (asked.wants("events") or event.type in ALERT_CHANGES):
        return False
    if interest.groups is not None:
        members = sight.registry.membership.members(interest.groups)
        if event.device_id is None or event.device_id not in members:
            return False
    return (
        (interest.devices is None or event.device_id in interest.devices)
        and (interest.metrics is None or event.metric_name in interest.metrics)
        and sees_event(asked.principal, event)
    )


def _told(asked: Asked, event: Event) -> Iterator[Piece]:
    if asked.wants("events"):
        yield Piece("event", (event.seq, 0), event_json(event))
    if asked.wants("alerts") and event.type in ALERT_CHANGES:
        yield Piece("alert", (event.seq, 0), event.data.encode())


def _fitting(texts: list[bytes]) -> int:
    """How many of the texts make one message; at least one."""
    room = MESSAGE_BYTES_MAX
    for at, text in enumerate(texts):
        room -= len(text) + 1
        if room < 0:
            return max(1, at)
    return len(texts)
