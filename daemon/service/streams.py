"""Streams that are open in this process: what each is subscribed to, where it goes on from, and
when it has to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.cursors import Cursor, parse_cursor
from daemon.domain.errors import Busy, DomainError, Invalid
from daemon.domain.former_callers import Caller
from daemon.domain.ids import new_id
from daemon.domain.interest import DEVICES_MAX, Interest
from daemon.domain.json_points import instant
from daemon.domain.wanted import Wanted
from daemon.live.connection import Budget, Connection, Outlet
from daemon.live.hub import HEARTBEAT_S, Hub
from daemon.live.message import frame
from daemon.log import get_logger
from daemon.service.catch_up import READ_POINTS, READ_POINTS_MAX, Asked, CatchUp, Piece
from daemon.service.changes import Changes, Gap
from daemon.service.keys import Credential, Keys
from daemon.service.stream_limits import Slot

CHECK_EVERY_S = 5.0
"""Keys are looked at so often; with what a check may take, a revoked one's streams end in 10 s."""
SUBSCRIPTIONS_MAX = 100
STREAMS_MAX = 20_000
"""Over it a further one is told to try later."""
READERS_MAX = 8
"""Pages that are read from the journal at a time, for all streams."""
CLEAR_WITHIN_S = 10.0
AHEAD_WITHIN_S = 10.0
PROTOCOL = "telemetry.v1"
AUTH, TOO_SLOW, TRY_LATER = 4001, 4008, 1013

log = get_logger()


@dataclass(slots=True, eq=False)
class Stream:
    """One open stream. `wanted` has its subscriptions by key; `clear` is set while the socket takes
    more."""

    connection: Connection
    outlet: Outlet
    principal: Principal
    credential: Credential
    caller: Caller
    slot: Slot
    wanted: dict[str, Wanted] = field(default_factory=dict)
    clear: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    on_cancelled: Callable[[], None] = lambda: None

    def cancelled(self) -> None:
        """Its subscription was deleted."""
        self.on_cancelled()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who opens a stream, and with what."""

    principal: Principal
    credential: Credential
    caller: Caller


class Streams:
    """Opens, subscribes and ends streams; `run` owns those that catch up from the journal."""

    def __init__(
        self, hub: Hub, *, changes: Changes, catch_up: CatchUp, keys: Keys, clock: Clock
    ) -> None:
        self._hub = hub
        self._changes = changes
        self._catch_up = catch_up
        self._keys = keys
        self._clock = clock
        self._open: dict[Connection, Stream] = {}
        self._readers = asyncio.Semaphore(READERS_MAX)
        self._tasks: asyncio.TaskGroup | None = None
        self._is_closing = False
        self.budget = Budget()

    async def run(self) -> None:
        """Until cancelled: end the streams of keys that are accepted no longer."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                await asyncio.sleep(CHECK_EVERY_S)
                try:
                    await self.check_keys()
                except DomainError as error:
                    # They go on until it can be known.
                    log.info("streams_keep_their_keys", code=error.error_code)

    # -- open and close ----------------------------------------------------------------------

    def open(
        self, outlet: Outlet, visitor: Visitor, *, slot: Slot, is_mute: bool = False
    ) -> Stream:
        """A stream without subscriptions. Raises Busy."""
        if self._is_closing or len(self._open) >= STREAMS_MAX:
            raise Busy("no more streams can be opened now", retry_after_s=10)
        principal = visitor.principal
        connection = self._hub.connect(outlet, principal, budget=self.budget, is_mute=is_mute)
        stream = Stream(connection, outlet, principal, visitor.credential, visitor.caller, slot)
        stream.clear.set()
        self._open[connection] = stream
        return stream

    def welcome(self, stream: Stream) -> None:
        """Say what it is connected to, and what it may do."""
        budget = self.budget
        self.say(
            stream,
            "welcome",
            {
                "connection_id": stream.connection.id,
                "protocol": PROTOCOL,
                "heartbeat_s": HEARTBEAT_S,
                "limits": {
                    "messages_per_second": budget.messages_per_s,
                    "messages_per_minute": budget.messages_per_minute,
                    "burst": budget.burst,
                    "subscriptions": SUBSCRIPTIONS_MAX,
                    "devices": DEVICES_MAX,
                },
            },
        )

    def close(self, stream: Stream) -> None:
        """Its socket is gone. A second call does nothing."""
        if self._open.pop(stream.connection, None) is None:
            return
        self._hub.leave(stream.connection)
        stream.slot.close()
        for task in stream.tasks.values():
            task.cancel()

    def close_slow(self, stream: Stream) -> None:
        """Its socket takes nothing; its client resumes, or not."""
        self._hub.close(stream.connection, TOO_SLOW, "too slow")

    def drained(self, stream: Stream) -> None:
        """Its socket takes more again."""
        stream.clear.set()
        self._hub.drained(stream.connection)

    def has(self, cursor: str | None) -> bool:
        """Whether the cursor is one of a stream that goes on here: then it is no new one."""
        if cursor is None:
            return False
        try:
            place = parse_cursor(cursor)
        except DomainError:
            return False
        return place.epoch == self._hub.head.epoch and place.seq <= self._hub.head.seq

    async def shutdown(self, *, within_s: float) -> None:
        """Say `shutdown` to all, and wait until they are gone."""
        self._is_closing = True
        self._hub.shutdown()
        try:
            async with asyncio.timeout(within_s):
                while self._open:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.info("streams_cut", streams=len(self._open))
            for stream in list(self._open.values()):
                stream.outlet.abort()

    async def check_keys(self) -> None:
        """End what was opened with a key that is accepted no longer, and note whose secret a
        rotation has replaced meanwhile. Raises StoreUnavailable."""
        held = {stream.credential for stream in self._open.values()}
        if not held:
            return
        alive = await self._keys.alive(held)
        former = self._keys.uses.former
        for stream in list(self._open.values()):
            credential = stream.credential
            if credential in alive:
                former.note(stream.caller, key_id=credential.key_id, until=alive[credential])
            elif credential in held:
                reason = "the key is accepted no longer"
                self.say(stream, "error", {"code": "AUTH_REQUIRED", "message": reason})
                self._hub.close(stream.connection, AUTH, reason)

    # -- subscriptions -----------------------------------------------------------------------

    async def subscribe(self, stream: Stream, wanted: Wanted, *, key: str | None = None) -> str:
        """Add a subscription and return its key; the socket is told before its first message.

        Asked again without `resume`, what is subscribed already stays as it is. Raises Invalid,
        Malformed, TryLater.
        """
        interest = wanted.interest(lambda names: self._groups(stream, names))
        after = None if wanted.resume is None else parse_cursor(wanted.resume)
        known = None if after else _key_of(stream, wanted)
        if known is not None:
            self._say_subscribed(stream, known, interest.channels)
            return known
        if len(stream.wanted) >= SUBSCRIPTIONS_MAX and key not in stream.wanted:
            raise Invalid(
                f"a stream has {SUBSCRIPTIONS_MAX} subscriptions at most",
                code="too_many_subscriptions",
            )
        key = key or new_id("sub", now_us=self._clock.now_us())
        gap: Gap | None = None
        if after is not None and not self._covers(after):
            after, gap = await self._changes.begin(wanted.resume)
        if stream.connection not in self._open:
            return key
        stream.wanted[key] = replace(wanted, resume=None)
        self._begin(stream, key, interest, after=after, gap=gap)
        return key

    def _begin(
        self,
        stream: Stream,
        key: str,
        interest: Interest,
        *,
        after: Cursor | None,
        gap: Gap | None = None,
    ) -> None:
        """From `after`, or from now; what is in the ring is the hub's, all else is read."""
        connection = stream.connection
        if after is not None:
            connection.held[key] = (after.seq, after.offset)
        recovered = after is not None and gap is None
        self._say_subscribed(stream, key, interest.channels, recovered=recovered)
        if gap is not None:
            said = {"from": str(gap.start), "to": str(gap.end), "reason": gap.reason}
            self.say(stream, "gap", said)
        if after is None or self._covers(after):
            connection.held.pop(key, None)
            self._hub.join(connection, key, interest, after=after)
            return
        assert self._tasks is not None
        stream.tasks[key] = self._tasks.create_task(self._follow(stream, key, interest, after))

    def _say_subscribed(
        self, stream: Stream, key: str, channels: Sequence[str], *, recovered: bool = False
    ) -> None:
        said = {"subscription_id": key, "recovered": recovered, "channels": list(channels)}
        # Behind this place what comes is new, so a client can tell when it has caught up.
        self.say(stream, "subscribed", said | {"head": str(self._hub.head)})

    def _covers(self, after: Cursor) -> bool:
        head = self._hub.head
        return after.epoch == head.epoch and after.seq <= head.seq and self._hub.covers(after.seq)

    def _groups(self, stream: Stream, names: Sequence[str]) -> tuple[str, ...]:
        return self._changes.find_groups(stream.principal, names)

    def unsubscribe(self, stream: Stream, left: Callable[[str, Wanted], Wanted | None]) -> int:
        """Change every subscription to what `left` gives for its key and request; None ends it.

        The socket is told what remains of each that changed; returns how many did.
        """
        changed = 0
        for key, wanted in list(stream.wanted.items()):
            rest = left(key, wanted)
            if rest is wanted:
                continue
            changed += 1
            place = self._place_of(stream, key)
            self._end(stream, key)
            if rest is None:
                self._say_subscribed(stream, key, ())
                continue
            stream.wanted[key] = rest
            interest = rest.interest(lambda names: self._groups(stream, names))
            self._begin(stream, key, interest, after=place)
        return changed

    def _place_of(self, stream: Stream, key: str) -> Cursor:
        """How far this subscription has got."""
        dispatch, connection = self._hub.dispatch, stream.connection
        places = [dispatch.place_of(line) for line in connection.lines if line.key == key]
        held = connection.held.get(key)
        seq, offset = held or min(places, default=(dispatch.swept, 0))
        return Cursor(self._hub.head.epoch, seq, offset)

    def _end(self, stream: Stream, key: str) -> None:
        del stream.wanted[key]
        task = stream.tasks.pop(key, None)
        if task is not None:
            task.cancel()
        stream.connection.held.pop(key, None)
        self._hub.part(stream.connection, key)

    # -- catching up -------------------------------------------------------------------------

    async def _follow(self, stream: Stream, key: str, interest: Interest, after: Cursor) -> None:
        """Read from the journal until the ring goes on; what fails ends the stream, whose client
        resumes."""
        try:
            await self._catch(stream, key, Asked(stream.principal, interest), after)
        except TimeoutError:
            self.close_slow(stream)
        except DomainError as error:
            self.say(stream, "error", {"code": "STREAM_UNAVAILABLE", "message": error.detail})
            self._hub.close(stream.connection, TRY_LATER, "the journal can't be read now")
        except Exception:
            log.error("stream_catch_up_failed", exc_info=True)
            self._hub.close(stream.connection, TRY_LATER, "the journal can't be read now")
        finally:
            stream.connection.held.pop(key, None)
            stream.tasks.pop(key, None)

    async def _catch(self, stream: Stream, key: str, asked: Asked, after: Cursor) -> None:
        async with asyncio.timeout(AHEAD_WITHIN_S):
            # Another daemon gave the cursor, and this one has not read so far.
            while after.seq > self._hub.head.seq:
                await asyncio.sleep(0.02)
        pages, points = 0, READ_POINTS
        while not self._covers(after):
            pages += 1
            async with self._readers:
                page = await self._catch_up.page(
                    asked, after, upto=self._hub.head.seq, points=points
                )
            # Who wants little of much reads on in larger steps.
            points = min(2 * points, READ_POINTS_MAX)
            for piece in self._catch_up.pieces(asked, after, page):
                await self.until_clear(stream)
                points = READ_POINTS
                self._write(stream, key, piece)
                # Others have a turn, too.
                await asyncio.sleep(0)
            after = page.cursor
            stream.connection.held[key] = (after.seq, after.offset)
        del stream.connection.held[key]
        log.info("stream_caught_up", connection_id=stream.connection.id, pages=pages)
        self._hub.join(stream.connection, key, asked.interest, after=after)

    def _write(self, stream: Stream, key: str, piece: Piece) -> None:
        """Its cursor is behind nothing that another subscription of the stream has not got."""
        held = stream.connection.held
        held[key] = piece.place
        seq, offset = min(held.values())
        stamp = instant(self._clock.now_us())
        cursor = Cursor(self._hub.head.epoch, seq, offset)
        stream.outlet.write(frame(piece.kind, timestamp=stamp, cursor=cursor, data=piece.data))

    async def until_clear(self, stream: Stream) -> None:
        """Return when its socket takes more. Raises TimeoutError after CLEAR_WITHIN_S."""
        while not stream.outlet.is_clear:
            stream.clear.clear()
            async with asyncio.timeout(CLEAR_WITHIN_S):
                await stream.clear.wait()

    # -- what is told ------------------------------------------------------------------------

    def say(self, stream: Stream, kind: str, data: dict[str, Any]) -> None:
        """A control frame; its cursor is the place of the stream."""
        self._hub.send(stream.connection, kind, data)


def _key_of(stream: Stream, wanted: Wanted) -> str | None:
    plain = replace(wanted, resume=None)
    return next((key for key, one in stream.wanted.items() if one == plain), None)
