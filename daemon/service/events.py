"""The feed of events: what happened, newest first or behind a cursor, and telling something from
outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.cursors import Cursor, parse_cursor
from daemon.domain.errors import Busy, Forbidden, Invalid, NotFound
from daemon.domain.events import (
    CAUSE_MEMBER,
    Event,
    NewEvent,
    is_own_type,
    is_type,
    new_event,
    sees_event,
)
from daemon.domain.points import is_name
from daemon.log import get_logger
from daemon.service.changes import WAIT_S_MAX, Gap
from daemon.service.tail import Tail
from daemon.store.events import SEQ_MAX, EventStore

SCAN_EVENTS = 1_000
"""Events read at a time."""
HIDDEN_EVENTS = 20
"""Read beside those asked for: key events that may not be seen."""
SCAN_EVENTS_MAX = 20_000
"""A page that finds too little among this many ends early, with a cursor to go on from."""
WAITERS_MAX = 1_000
"""Over this many waiting requests a further one is answered 503."""
DATA_BYTES_MAX = 64 * 1024

log = get_logger()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """None means all."""

    types: Sequence[str] | None = None
    severities: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class EventsPage:
    """Events, and the cursor behind the newest that was looked at."""

    events: list[Event]
    cursor: Cursor
    gap: Gap | None = None


class Events:
    """What a key may not see does not exist for it."""

    def __init__(self, store: EventStore, *, clock: Clock, tail: Tail) -> None:
        self._store = store
        self._clock = clock
        self._tail = tail
        self._waiters = 0
        self._look = asyncio.Lock()
        self._looked_at = -1
        self._newest = 0

    # -- telling -----------------------------------------------------------------------------

    async def create(self, told: Mapping[str, Any], *, by: Principal) -> Event:
        """Store an event from outside; a repeated `dedup_id` of the same key gives the first one.

        It is about the device and metric that its data names, or the device that is its subject.
        Raises Invalid for a type of our own and for too much data, Forbidden when the key may not
        see what it is about.
        """
        event = self._event(told, by=by)
        if not by.sees_everything and not sees_event(by, event):
            raise Forbidden(
                "the key's patterns do not reach what the event is about", code="outside_patterns"
            )
        stored = await self._store.insert(event)
        self._tail.wake()
        log.info("event_created", event_id=stored.event_id, type=stored.type, by=by.key_id)
        return stored

    def _event(self, told: Mapping[str, Any], *, by: Principal) -> NewEvent:
        fields = dict(told)
        kind, message = fields.pop("type"), fields.pop("message")
        data = fields.get("data", {})
        if not is_type(kind):
            raise _wrong("/type", "a type is words of letters, digits, _ and - between dots")
        if is_own_type(kind):
            raise _wrong("/type", f"types of {kind.partition('.')[0]} are told by the server only")
        if len(orjson.dumps(data)) > DATA_BYTES_MAX:
            raise _wrong("/data", f"the data is larger than {DATA_BYTES_MAX} bytes")
        if CAUSE_MEMBER in data:
            raise _wrong(f"/data/{CAUSE_MEMBER}", f"{CAUSE_MEMBER} is filled in by the server")
        if fields.get("dedup_id") is not None:
            fields["dedup_id"] = f"{by.key_id}:{fields['dedup_id']}"
        return new_event(
            kind,
            message,
            by=by.key_id,
            now_us=self._clock.now_us(),
            device_id=_name_in(data, "device_id") or self._device_of(fields.get("subject")),
            metric_name=_name_in(data, "metric_name"),
            **fields,
        )

    def _device_of(self, subject: str | None) -> str | None:
        return subject if subject in self._tail.registry.devices else None

    # -- reading -----------------------------------------------------------------------------

    async def show(self, event_id: str, *, by: Principal) -> Event:
        """Raises NotFound."""
        event = await self._store.find(event_id)
        if event is None or not sees_event(by, event):
            raise NotFound(f"there is no event {event_id}", code="unknown_event")
        return event

    async def newest(self, wanted: EventFilter, *, by: Principal, limit: int) -> EventsPage:
        """Up to `limit` events, newest first; the cursor is that of the newest of all."""
        # Before the read: every event up to here is in what it finds.
        position = self._tail.position
        found: list[Event] = []
        before, scanned, size = SEQ_MAX, 0, _page_size(by, limit)
        while len(found) < limit and scanned < SCAN_EVENTS_MAX:
            rows = await self._store.newest(
                before, types=wanted.types, severities=wanted.severities, limit=size
            )
            found += [event for event in rows if sees_event(by, event)]
            if not scanned and rows:
                position = max(position, rows[0].seq)
            scanned += len(rows)
            if len(rows) < size:
                break
            before = rows[-1].seq
        return EventsPage(found[:limit], Cursor(self._epoch, position))

    async def page(
        self,
        wanted: EventFilter,
        *,
        by: Principal,
        after: str,
        limit: int,
        wait_s: float = 0.0,
    ) -> EventsPage:
        """Up to `limit` events behind the cursor (empty: since the oldest kept), in order.

        With `wait_s`, an empty page is held back until there are some. Raises Malformed for a
        cursor that is none, and Busy when too many requests wait.
        """
        cursor, gap = await self._begin(after)
        deadline_s = self._clock.monotonic_s() + min(wait_s, WAIT_S_MAX)
        while True:
            found, cursor, is_whole = await self._scan(wanted, by, cursor=cursor, limit=limit)
            left_s = deadline_s - self._clock.monotonic_s()
            if found or gap or not is_whole or left_s <= 0 or self._tail.is_closing:
                return EventsPage(found, cursor, gap)
            await self._wait_beyond(cursor.seq, deadline_s)

    @property
    def _epoch(self) -> str:
        return self._tail.registry.epoch

    async def _begin(self, after: str) -> tuple[Cursor, Gap | None]:
        floor, last = await self._store.bounds()
        first = Cursor(self._epoch, floor)
        if not after:
            return first, None
        given = parse_cursor(after)
        if given.epoch != self._epoch or given.seq > last:
            return first, Gap(given, first, "epoch")
        if given.seq < floor:
            return first, Gap(given, first, "expired")
        return given, None

    async def _scan(
        self, wanted: EventFilter, by: Principal, *, cursor: Cursor, limit: int
    ) -> tuple[list[Event], Cursor, bool]:
        """Events behind the cursor, the cursor behind them, and whether that is all there is."""
        found: list[Event] = []
        seq, scanned, size = cursor.seq, 0, _page_size(by, limit)
        while scanned < SCAN_EVENTS_MAX:
            position = self._tail.position
            rows = await self._store.between(
                seq, types=wanted.types, severities=wanted.severities, limit=size
            )
            for event in rows:
                if sees_event(by, event):
                    found.append(event)
                seq = event.seq
                if len(found) == limit:
                    return found, Cursor(cursor.epoch, seq), False
            scanned += len(rows)
            if len(rows) < size:
                seq = max(seq, position)
                end = cursor if seq == cursor.seq else Cursor(cursor.epoch, seq)
                return found, end, True
        return found, Cursor(cursor.epoch, seq), False

    async def _wait_beyond(self, seq: int, deadline_s: float) -> None:
        """Return when there is an event behind `seq`, or at the deadline."""
        if self._waiters >= WAITERS_MAX:
            raise Busy("too many requests wait for events")
        self._waiters += 1
        try:
            position = seq
            while (left_s := deadline_s - self._clock.monotonic_s()) > 0:
                await self._tail.wait_beyond(position, left_s)
                position = max(position, self._tail.position)
                if self._tail.is_closing or await self._newest_at(position) > seq:
                    return
        finally:
            self._waiters -= 1

    async def _newest_at(self, position: int) -> int:
        """The newest event once the tail is there: one look for all that wait."""
        async with self._look:
            if self._looked_at < position:
                at = self._tail.position
                self._newest = await self._store.newest_seq()
                self._looked_at = at
            return self._newest


def _page_size(by: Principal, limit: int) -> int:
    """How many to read at a time: who sees everything sees nearly all of what is read."""
    return min(limit + HIDDEN_EVENTS, SCAN_EVENTS) if by.sees_everything else SCAN_EVENTS


def _name_in(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and is_name(value) else None


def _wrong(pointer: str, detail: str) -> Invalid:
    code = "too_large" if pointer == "/data" else "bad_type"
    return Invalid(
        f"The event is not valid: {detail}.",
        code=code,
        errors=[{"pointer": pointer, "code": code, "detail": detail}],
    )
