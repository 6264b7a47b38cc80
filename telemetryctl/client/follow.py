"""Following the stream through everything that happens to it: one position, whichever the door."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from telemetryctl.client.credential import Credential
from telemetryctl.client.doors import (
    DEAD_AFTER_S,
    Door,
    Frame,
    Lost,
    Point,
    Unauthenticated,
    Unfit,
)
from telemetryctl.client.stream_poll import PollDoor
from telemetryctl.failures import TryLater

WAKE_S = 1.0
"""Whoever reads the events gets a turn at least this often."""
LEVEL_AFTER_S = 0.3
"""So long without a frame after a resume means that everything missed has come, too."""
SLOW_CONSUMER = "slow_consumer"


@dataclass(frozen=True, slots=True)
class Pace:
    """When to try again (R-085), when to give up on sockets, and when to look for a better door."""

    delays_s: tuple[float, ...] = (3, 6, 12, 24, 48, 60)
    jitter: float = 0.2
    failures_max: int = 10
    poll_s: float = 30.0
    probe_s: float = 60.0
    probe_max_s: float = 900.0
    settled_s: float = 10.0

    def delay_s(self, failures: int) -> float:
        """How long to wait before the attempt of this number, counted from 1."""
        base_s = self.delays_s[min(failures, len(self.delays_s)) - 1]
        return base_s * random.uniform(1 - self.jitter, 1 + self.jitter)

    def poll_delay_s(self) -> float:
        return self.poll_s * random.uniform(1 - self.jitter, 1 + self.jitter)


@dataclass(frozen=True, slots=True)
class Batch:
    """Points in order, and the position behind them; without points only the position moved."""

    points: Sequence[Point]
    cursor: str


@dataclass(frozen=True, slots=True)
class Loss:
    """What the server no longer has: between these positions, for this reason."""

    start: str
    end: str
    reason: str
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person at the terminal wants to know of the connection; `why` is for the curious."""

    text: str
    why: str = ""


Event = Batch | Loss | Notice | None
"""None gives the reader a turn."""
Patience = Callable[[], float]


@dataclass(slots=True)
class _CatchUp:
    """What came since a connection was lost."""

    began_s: float
    head: str = ""
    points: int = 0
    losses: int = 0

    def told(self) -> Notice:
        lost = "none lost" if not self.losses else "what the gap lines say is lost"
        return Notice(f"resumed; {self.points:,} points caught up, {lost}")


@dataclass(slots=True)
class Follower:
    """Reads a stream behind `cursor` through the best of `doors` that works, best first.

    `poll` reads what a socket had to leave out. `cursor` is always the position behind what was
    given out: at whatever door it goes on, nothing is missing and nothing comes twice.
    """

    doors: Sequence[Door]
    poll: PollDoor
    cursor: str = ""
    pace: Pace = field(default_factory=Pace)
    failures: int = 0
    credential: Credential = field(default_factory=Credential, repr=False)
    _is_refused: bool = False
    _shown: str | None = field(default=None, repr=False)
    _rank: int = 0
    _is_open: bool = False
    _was_open: bool = False
    _catch_up: _CatchUp | None = None
    _clock_s: Callable[[], float] = field(default=time.monotonic, repr=False)

    @property
    def is_connected(self) -> bool:
        """Whether the stream is open at this moment."""
        return self._is_open

    @property
    def door(self) -> Door:
        """The door in use, or to be tried next."""
        return self.doors[self._rank]

    def close(self) -> None:
        """Let go of the connection."""
        self._is_open = False
        for door in self.doors:
            door.close()

    def events(self, patience: Patience) -> Iterator[Event]:
        """Everything that happens, without end; `patience` says how many seconds may pass before
        the reader must have a turn.

        Raises TryLater when the server can't be reached at all at first, and Failure for what
        waiting doesn't heal.
        """
        try:
            while True:
                try:
                    yield from self._listen(patience)
                except Unfit as unfit:
                    yield self._step_down(unfit)
                except Unauthenticated:
                    if not self._renew():
                        raise
                except Lost as lost:
                    yield from self._lost(lost, patience)
        finally:
            self.close()

    # -- one connection ----------------------------------------------------------------------

    def _listen(self, patience: Patience) -> Iterator[Event]:
        """Open the door and give out what comes. Raises Lost and Unfit."""
        if not self._is_open:
            self._shown = self.credential.token
            self._opened(self.door.open(self.cursor))
            yield from self._welcome()
        opened_s = heard_s = probed_s = self._clock_s()
        probe_s = self.pace.probe_s
        while True:
            frame = self.door.receive(self._turn_s(patience))
            self._was_open = True
            now_s = self._clock_s()
            if frame is not None:
                heard_s = now_s
                yield from self._taken(frame)
            elif now_s - heard_s > DEAD_AFTER_S and self.door is not self.poll:
                raise Lost(f"no sign of the server for {DEAD_AFTER_S:.0f} s")
            if self.failures and (frame is None or now_s - opened_s >= self.pace.settled_s):
                self.failures = 0
            if self._is_level(frame, now_s - heard_s):
                yield self._told()
            if self._rank and now_s - probed_s >= probe_s:
                probed_s, probe_s = now_s, min(probe_s * 2, self.pace.probe_max_s)
                if (better := self._better()) is not None:
                    yield better
                    heard_s = self._clock_s()
            yield None

    def _turn_s(self, patience: Patience) -> float:
        wake_s = LEVEL_AFTER_S if self._catch_up else WAKE_S
        if self.door is self.poll and not self._catch_up:
            # Each poll is a request: as long as the reader has nothing else to do.
            wake_s = self.pace.poll_s
        return max(min(patience(), wake_s), 0.0)

    def _opened(self, frame: Frame) -> None:
        self._is_open, self._is_refused = True, False
        self._shown = self.credential.token
        # A poll that begins behind a known place has not asked anybody yet.
        self._was_open = self._was_open or self.door is not self.poll
        if not self.cursor:
            self.cursor = frame.cursor
        if self._catch_up is not None:
            self._catch_up.head = str(frame.data.get("head") or "")

    def _welcome(self) -> Iterator[Event]:
        if self._catch_up is None:
            yield Batch((), self.cursor)
            return
        self._catch_up.began_s = self._clock_s()

    def _taken(self, frame: Frame) -> Iterator[Event]:
        """What a frame means. Raises Lost when it says that the connection ends."""
        match frame.kind:
            case "update":
                self.cursor = frame.cursor or self.cursor
                if self._catch_up is not None:
                    self._catch_up.points += len(frame.points)
                yield Batch(frame.points, self.cursor)
            case "ping" | "heartbeat":
                if frame.cursor and frame.cursor != self.cursor:
                    self.cursor = frame.cursor
                    yield Batch((), self.cursor)
            case "gap":
                yield from self._gap(frame)
            case "shutdown":
                raise Lost("the server restarts")

    def _gap(self, frame: Frame) -> Iterator[Event]:
        said = frame.data
        if said.get("reason") == SLOW_CONSUMER:
            # Only this socket was too slow: the points are still there for those who ask.
            yield from self._read_rest()
            return
        start, end = str(said.get("from") or self.cursor), str(said.get("to") or frame.cursor)
        self.cursor = frame.cursor or end
        if self._catch_up is not None:
            self._catch_up.losses += 1
        points = said.get("points")
        is_counted = isinstance(points, int)
        yield Loss(start, end, str(said.get("reason") or "unknown"), points if is_counted else None)

    def _read_rest(self) -> Iterator[Event]:
        """Leave the socket and read by request up to the newest; then it is opened again."""
        self._is_open = False
        self.door.close()
        yield Notice("reading what the stream left out, as this side was too slow for it")
        self.poll.open(self.cursor)
        while True:
            frame = self.poll.receive(0.0)
            if frame is None:
                break
            yield from self._taken(frame)
            if self.poll.is_level:
                break
        self._opened(self.door.open(self.cursor))

    # -- after a loss ------------------------------------------------------------------------

    def _is_level(self, frame: Frame | None, silent_s: float) -> bool:
        """Whether what was missed has come, as far as that can be seen from here."""
        catching = self._catch_up
        if catching is None:
            return False
        if self.door is self.poll:
            return self.poll.is_level
        if catching.head and place_of(self.cursor) >= place_of(catching.head):
            return True
        return frame is None and silent_s >= LEVEL_AFTER_S

    def _told(self) -> Notice:
        assert self._catch_up is not None
        notice, self._catch_up = self._catch_up.told(), None
        return notice

    def _renew(self) -> bool:
        """Whether there is a newer token to come back with: once for each time it is refused."""
        self._is_open = False
        self.door.close()
        if self._is_refused or not self.credential.is_renewed(self._shown):
            return False
        self._is_refused = True
        return True

    def _lost(self, lost: Lost, patience: Patience) -> Iterator[Event]:
        """Wait as long as the attempt's number says; the reader has its turns meanwhile."""
        self._is_open = False
        self.door.close()
        if not self._was_open:
            raise TryLater(
                "the stream can't be reached", why=lost.reason, hint="telemetryctl status"
            ) from lost
        self.failures += 1
        if self._catch_up is None:
            self._catch_up = _CatchUp(self._clock_s())
        is_polling = self.failures >= self.pace.failures_max and len(self.doors) > 1
        if is_polling and self.door is not self.doors[-1]:
            self._rank = len(self.doors) - 1
            yield Notice(f"{self.failures} attempts failed; polling from now on")
        delay_s = self.pace.poll_delay_s() if is_polling else self.pace.delay_s(self.failures)
        delay_s = max(delay_s, lost.retry_after_s or 0.0)
        said = "connection lost; resuming" if self.failures == 1 else "still away; trying again"
        yield Notice(f"{said} in {delay_s:.0f} s (attempt {self.failures})", lost.reason)
        until_s = self._clock_s() + delay_s
        while (left_s := until_s - self._clock_s()) > 0:
            yield None
            time.sleep(max(min(left_s, patience(), WAKE_S), 0.0))

    # -- which door --------------------------------------------------------------------------

    def _step_down(self, unfit: Unfit) -> Notice:
        """Take the next door. Raises TryLater behind the last one."""
        self._is_open = False
        self.door.close()
        refused = f"{self.door.name} does not work here ({unfit.reason})"
        if self._rank + 1 >= len(self.doors):
            raise TryLater(refused, hint="--transport auto tries other ways")
        self._rank += 1
        return Notice(f"{refused}; using {self.door.name}")

    def _better(self) -> Notice | None:
        """Go over to a better door that works by now; the old one is closed once that is open."""
        for rank, door in enumerate(self.doors[: self._rank]):
            try:
                opened = door.open(self.cursor)
            except (Lost, Unfit):
                door.close()
                continue
            self.door.close()
            self._rank = rank
            self._opened(opened)
            return Notice(f"{door.name} works again")
        return None


def place_of(cursor: str) -> tuple[str, int, int]:
    """The parts of a cursor in their order; the smallest place for a text that is none.

    Clients need not look into cursors. This one does to count what it missed, and for nothing else.
    """
    epoch, _, place = cursor.rpartition("-")
    seq, _, offset = place.partition(".")
    try:
        return (epoch, int(seq), int(offset or 0))
    except ValueError:
        return ("", 0, 0)
