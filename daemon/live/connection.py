"""What the hub knows of one socket: its subscriptions, each with its own place in the order, and
what it may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from daemon.domain.access import Principal
from daemon.live.message import Message
from daemon.live.ring import Place

if TYPE_CHECKING:
    from daemon.live.feeds import Feed


class Outlet(Protocol):
    """The socket side of a connection; nothing here waits.

    It calls `hub.drained(connection)` when it becomes clear again, and `hub.leave(connection)` when
    it is gone. With a message of kind `ping` a WebSocket sends a protocol ping too.
    """

    def write(self, message: Message) -> None:
        """Hand over one message; the transport buffers it."""

    @property
    def is_clear(self) -> bool:
        """Whether little enough is unsent in this process that more may be written."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what was written."""

    def abort(self) -> None:
        """End the socket now, whatever is unsent."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Flushes that a connection may get: `burst` at once, then `messages_per_s`.

    The ceiling of a minute holds by making the other two smaller where they would break it.
    """

    messages_per_s: float = 10.0
    burst: int = 100
    messages_per_minute: int = 1_000

    @property
    def interval_s(self) -> float:
        """Seconds that one flush costs."""
        return 1 / min(self.messages_per_s, 0.9 * self.messages_per_minute / 60)

    @property
    def tolerance_s(self) -> float:
        """How far ahead of its time a connection may be (GCRA)."""
        room = self.messages_per_minute - 60 / self.interval_s
        return self.interval_s * max(0.0, min(self.burst, room) - 1)


class Line:
    """One channel of one subscription on one connection.

    place   None while it is level with its feed; else what it has got so far
    skip    how much of a flush without places inside (conflated, newest values) is sent
    target  the end of the flush that is under way, None between flushes
    round   the newest flush of the feed that it got while level
    taken   how many of all rows of the feed it has got or lost; None while it is ahead of them
    snapshot  devices still to be shown before updates, with how many are done in `shown`
    """

    __slots__ = (
        "connection",
        "feed",
        "flushed_s",
        "key",
        "place",
        "round",
        "shown",
        "skip",
        "snapshot",
        "taken",
        "target",
    )

    def __init__(self, connection: Connection, feed: Feed, *, key: str) -> None:
        self.connection = connection
        self.feed = feed
        self.key = key
        self.place: Place | None = None
        self.skip = 0
        self.target: int | None = None
        self.round = 0
        self.taken: int | None = 0
        self.flushed_s = 0.0
        self.snapshot: list[str] | None = None
        self.shown = 0


class Connection:
    """`paid_until_s` runs ahead of the clock by what was sent (GCRA).

    is_paid    the flush under way was counted
    is_queued  it waits for its turn
    is_slow    its outlet was not clear, and has not said otherwise yet
    is_mute    it can't say anything: server-sent events
    held       by subscription: how far the journal was read for one that is not here yet
    seen_s, heard_s  when anything, and when a message, came from the client; set by the outlet
    """

    __slots__ = (
        "heard_s",
        "held",
        "id",
        "interval_s",
        "is_closing",
        "is_gone",
        "is_mute",
        "is_paid",
        "is_queued",
        "is_slow",
        "lines",
        "outlet",
        "paid_until_s",
        "principal",
        "seen_s",
        "slot",
        "tolerance_s",
    )

    def __init__(
        self, outlet: Outlet, principal: Principal, *, connection_id: str, budget: Budget
    ) -> None:
        self.id = connection_id
        self.outlet = outlet
        self.principal = principal
        self.interval_s = budget.interval_s
        self.tolerance_s = budget.tolerance_s
        self.paid_until_s = 0.0
        self.lines: list[Line] = []
        self.held: dict[str, Place] = {}
        self.is_paid = self.is_queued = self.is_slow = False
        self.is_closing = self.is_gone = self.is_mute = False
        self.seen_s = self.heard_s = 0.0
        self.slot = 0

    def takes_one(self, now_s: float) -> bool:
        """Whether the budget allows a flush now; it is counted if so."""
        paid_s = self.paid_until_s
        if paid_s > now_s + self.tolerance_s:
            return False
        self.paid_until_s = (paid_s if paid_s > now_s else now_s) + self.interval_s
        return True

    @property
    def is_single(self) -> bool:
        """Whether its cursor is that of its only line."""
        return len(self.lines) == 1 and not self.held

    @property
    def allowed_at_s(self) -> float:
        """When the budget allows the next flush."""
        return self.paid_until_s - self.tolerance_s

    @property
    def keys(self) -> list[str]:
        """Its subscriptions."""
        return list(dict.fromkeys(line.key for line in self.lines))
