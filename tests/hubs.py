"""A hub on a clock that is moved by hand, and outlets that keep what they are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from stacks import ADMIN

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.domain.block import Block
from daemon.domain.catalog import SeriesRow
from daemon.domain.cursors import Cursor
from daemon.domain.events import Event
from daemon.domain.interest import Interest, make_interest
from daemon.domain.kinds import Kind
from daemon.live.connection import Budget, Connection
from daemon.live.dispatch import HubLimits
from daemon.live.hub import Hub
from daemon.live.latest import Latest
from daemon.live.message import Message
from daemon.live.registry import Registry
from daemon.live.ring import Entry, Ring, RingLimits
from daemon.live.views import Views

START_US = 1_766_059_200_000_000
EPOCH = "e1"
PLENTY = Budget(messages_per_s=1e6, burst=10**6, messages_per_minute=10**9)
Row = tuple[int, float]
"""Series id and value."""


class Listener:
    """An outlet that takes `room` messages before it is not clear any more; None takes all."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.room: int | None = None
        self.closed: tuple[int, str] | None = None
        self.is_aborted = False

    def write(self, message: Message) -> None:
        self.messages.append(message)
        if self.room is not None:
            self.room -= 1

    @property
    def is_clear(self) -> bool:
        return self.room is None or self.room > 0

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.is_aborted = True

    # -- what it heard -----------------------------------------------------------------------

    def frames(self, *kinds: str) -> list[dict[str, Any]]:
        found = [orjson.loads(message.body) for message in self.messages]
        return [frame for frame in found if not kinds or frame["type"] in kinds]

    def values(self) -> list[float]:
        """Values of all points, in the order they came."""
        updates = self.frames("update")
        return [point["value"] for frame in updates for point in frame["data"]["data_points"]]


@dataclass
class World:
    """`turn` is what `run` does when something is due."""

    hub: Hub
    clock: ManualClock
    registry: Registry
    latest: Latest
    seq: int = 0
    seen_s: dict[Connection, float] = field(default_factory=dict)

    def publish(self, *rows: Row, second: int | None = None) -> int:
        """Commit a block of these rows; the time of a point is its seq, unless said."""
        self.seq += 1
        at_us = START_US + (self.seq if second is None else second) * 1_000_000
        block = Block(
            np.array([row[0] for row in rows], np.int32),
            np.full(len(rows), at_us, np.int64),
            np.array([float(row[1]) for row in rows]),
        )
        self.latest.append(self.seq, block)
        self.hub.publish(Entry(self.seq, block))
        return self.seq

    def publish_block(self, block: Block) -> int:
        self.seq += 1
        self.latest.append(self.seq, block)
        self.hub.publish(Entry(self.seq, block))
        return self.seq

    def tell(self, event: Event) -> None:
        self.seq = event.seq
        self.hub.publish(Entry(event.seq, event=event))

    async def turn(self, *, after_s: float = 0.0) -> None:
        self.clock.advance_s(after_s)
        await self.hub.turn()

    def listen(
        self,
        *,
        by: Principal = ADMIN,
        budget: Budget = PLENTY,
        after: int | Cursor | None = None,
        **wanted: Any,
    ) -> tuple[Listener, Connection]:
        """A connection with one subscription `s`."""
        listener = Listener()
        connection = self.hub.connect(listener, by, budget=budget)
        self.subscribe(connection, "s", make_interest(**wanted), after=after)
        return listener, connection

    def subscribe(
        self,
        connection: Connection,
        key: str,
        interest: Interest,
        *,
        after: int | Cursor | None = None,
    ) -> None:
        cursor = Cursor(EPOCH, after) if isinstance(after, int) else after
        self.hub.join(connection, key, interest, after=cursor)


def a_world(
    *, ring: RingLimits | None = None, limits: HubLimits | None = None, position: int = 0
) -> World:
    """Series 1 to 8: devices d1 to d4 with metrics `m` (odd ids) and `n` (even ids)."""
    registry, latest, clock = Registry(), Latest(), ManualClock(START_US)
    registry.epoch, registry.version = EPOCH, 1
    registry.add(
        SeriesRow(2 * device + at + 1, f"d{device + 1}", metric, Kind.NUMERIC)
        for device in range(4)
        for at, metric in enumerate(("m", "n"))
    )
    hub = Hub(Views(registry, latest, clock), ring=Ring(ring), limits=limits)
    hub.begin(position)
    return World(hub, clock, registry, latest, position)
