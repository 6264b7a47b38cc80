"""Whatever happens to a connection, what it got and the gaps it was told of are together exactly
what was committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hubs import EPOCH, Listener, Row, World, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import ADMIN

from daemon.domain.cursors import Cursor, parse_cursor
from daemon.domain.interest import Interest, make_interest
from daemon.live.connection import Budget, Connection
from daemon.live.dispatch import HubLimits
from daemon.live.ring import Place, RingLimits

SERIES = 8
INTERESTS: tuple[dict[str, Any], ...] = (
    {},
    {"devices": ["d1"]},
    {"devices": ["d2", "d3"], "metrics": ["m"]},
    {"metrics": ["n"]},
)
PACED: tuple[dict[str, Any], ...] = (
    {"max_frequency_ms": 150},
    {"devices": ["d1"], "max_frequency_ms": 300},
)

Step = tuple[Any, ...]
series = st.integers(1, SERIES)
publish = st.tuples(st.just("publish"), st.lists(series, min_size=1, max_size=6))
turn = st.tuples(st.just("turn"), st.sampled_from([0.0, 0.001, 0.06, 0.3]))
block = st.tuples(st.just("block"), st.integers(0, 5), st.integers(0, 3))
join = st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 6), st.integers(0, 2))
burst = st.tuples(st.just("burst"), st.integers(1, 12), st.lists(series, min_size=1, max_size=5))
steps = st.one_of(
    publish,
    publish,
    turn,
    turn,
    burst,
    block,
    block,
    join,
    st.tuples(st.just("skip")),
    st.tuples(st.just("clear"), st.integers(0, 5)),
)
stories = st.tuples(
    st.lists(join, min_size=1, max_size=4), st.lists(steps, min_size=10, max_size=50)
).map(lambda parts: [*parts[0], *parts[1]])


@dataclass
class Reader:
    """A connection, and where it was told that it begins."""

    listener: Listener
    connection: Connection
    start: Place
    wanted: dict[str, Any]
    others: list[Reader] = field(default_factory=list)
    """Further subscriptions of the same connection, to other devices."""


@dataclass
class Story:
    """Plays steps on a world; values are numbered in the order of commits."""

    world: World
    paced: bool = False
    is_several: bool = False
    values: int = 0
    rows: list[tuple[Place, Row]] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)

    def _reader(self, which: int) -> Reader:
        return self.readers[which % len(self.readers)]

    def _block(self, reader: Reader, room: int) -> None:
        if reader.listener.is_clear:
            reader.listener.room = room

    async def play(self, story: list[Step]) -> None:
        for step in story:
            await self._play_one(step)
        for _ in range(60):
            for reader in self.readers:
                self._clear(reader)
            await self.world.turn(after_s=0.3)

    async def _play_one(self, step: Step) -> None:
        match step:
            case ("publish", ids):
                self._publish(ids)
            case ("burst", times, ids):
                for _ in range(times):
                    self._publish(ids)
                    await self.world.turn(after_s=0.01)
            case ("skip",):
                self.world.seq += 1
            case ("turn", after_s):
                await self.world.turn(after_s=after_s)
            case ("join", which, back, offset):
                self._join(which, back, offset)
            case ("block", which, room):
                self._block(self._reader(which), room)
            case ("clear", which):
                self._clear(self._reader(which))

    def _publish(self, ids: list[int]) -> None:
        rows: list[Row] = []
        for series_id in ids:
            self.values += 1
            rows.append((series_id, float(self.values)))
        seq = self.world.publish(*rows)
        self.rows += [((seq, at), row) for at, row in enumerate(rows)]

    def _clear(self, reader: Reader) -> None:
        was_clear = reader.listener.is_clear
        reader.listener.room = None
        if not was_clear:
            self.world.hub.drained(reader.connection)

    def _join(self, which: int, back: int, offset: int) -> None:
        wanted = (PACED if self.paced else INTERESTS)[which % (2 if self.paced else 4)]
        if self.is_several:
            wanted = {"devices": ["d1"]}
        hub, listener = self.world.hub, Listener()
        head = hub.head.seq
        seq = max(hub.ring.floor, head - back)
        budget = Budget(messages_per_s=10, burst=2, messages_per_minute=1_000)
        connection = hub.connect(listener, ADMIN, budget=budget)
        start = (head, 0) if back == 0 else (seq, offset if seq < head else 0)
        after = None if back == 0 else Cursor(EPOCH, *start)
        hub.join(connection, "s", make_interest(**wanted), after=after)
        self.readers.append(Reader(listener, connection, start, wanted))

        if self.is_several:
            self._join_others(self.readers[-1], after)

    def _join_others(self, reader: Reader, after: Cursor | None) -> None:
        """The first from where the connection begins, the second from now."""
        hub, connection = self.world.hub, reader.connection
        for device, cursor in (("d2", after), ("d3", None)):
            wanted: dict[str, Any] = {"devices": [device]}
            hub.join(connection, device, make_interest(**wanted), after=cursor)
            start = (hub.head.seq, 0) if cursor is None else reader.start
            reader.others.append(Reader(reader.listener, connection, start, wanted))

    # -- what has to come --------------------------------------------------------------------

    def expected(self, reader: Reader) -> list[tuple[Place, Row]]:
        """Rows that are asked for, behind the start of the reader."""
        interest = make_interest(**reader.wanted)
        return [
            (place, row)
            for place, row in self.rows
            if _wants(interest, row[0]) and not self.is_read(place, reader.start)
        ]

    def is_read(self, place: Place, cursor: Place) -> bool:
        """Whether a row lies before the cursor, whose offset counts in the next block."""
        (seq, at), (read, offset) = place, cursor
        if seq <= read or not offset:
            return seq <= read
        following = min(s for (s, _), _ in self.rows if s > read)
        return seq == following and at < offset


def _wants(interest: Interest, series_id: int) -> bool:
    device, metric = f"d{(series_id + 1) // 2}", "m" if series_id % 2 else "n"
    return (interest.devices is None or device in interest.devices) and (
        interest.metrics is None or metric in interest.metrics
    )


def _place(text: str) -> Place:
    cursor = parse_cursor(text)
    return cursor.seq, cursor.offset


def told(reader: Reader) -> Iterator[tuple[str, Place, list[float], dict[str, Any]]]:
    """(type, cursor, values, data) of each frame that says something of points."""
    for frame in reader.listener.frames("update", "gap"):
        data = frame["data"]
        values = [point["value"] for point in data.get("data_points", [])]
        yield frame["type"], _place(frame["cursor"]), values, data


def check_all(story: Story, reader: Reader) -> None:
    """Every row once and in order, in an update or in a gap; cursors name exactly what was read."""
    waiting = story.expected(reader)
    for kind, cursor, values, data in told(reader):
        passed = [row for place, row in waiting if story.is_read(place, cursor)]
        waiting = waiting[len(passed) :]
        if kind == "gap":
            assert len(passed) == data["points"]
            assert _place(data["to"]) == cursor
        else:
            assert [row[1] for row in passed] == values
            assert len(values) <= story.world.hub.views.message_points_max
    assert waiting == []


def check_newest(story: Story, reader: Reader) -> None:
    """Each flush has the newest value of each series since the last one."""
    waiting = story.expected(reader)
    got: list[float] = []
    for kind, cursor, values, _ in told(reader):
        assert kind == "update"
        got += values
        passed = [row for place, row in waiting if story.is_read(place, cursor)]
        if not passed:
            continue
        waiting = waiting[len(passed) :]
        newest = dict(passed)
        assert sorted(got) == sorted(newest.values())
        got = []
    assert waiting == []
    assert got == []


def run(story: Story, steps: list[Step]) -> None:
    asyncio.run(story.play(steps))


SMALL_RING = RingLimits(points=40, bytes=10**9, entries=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(stories)
def test_what_was_sent_and_what_was_lost_is_what_was_committed(story_steps: list[Step]) -> None:
    world = a_world(ring=SMALL_RING, limits=HubLimits(pending_flushes_max=6, slow_grace_s=1e9))
    world.hub.views.message_points_max = 4
    story = Story(world)

    run(story, story_steps)

    for reader in story.readers:
        check_all(story, reader)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(stories)
def test_a_paced_reader_gets_the_newest_of_each_series(story_steps: list[Step]) -> None:
    world = a_world(ring=SMALL_RING, limits=HubLimits(pending_flushes_max=6, slow_grace_s=1e9))
    world.hub.views.message_points_max = 3
    story = Story(world, paced=True)

    run(story, story_steps)

    for reader in story.readers:
        check_newest(story, reader)


def check_several(story: Story, reader: Reader) -> None:
    """Each subscription gets its rows in order; no cursor is behind what was not sent or told."""
    lines = [story.expected(line) for line in (reader, *reader.others)]
    for kind, cursor, values, data in told(reader):
        if kind == "gap":
            start, end = _place(data["from"]), _place(data["to"])
            _lose(story, lines, span=(start, end), points=data["points"])
        for value in values:
            (line,) = (line for line in lines if line and line[0][1][1] == value)
            del line[0]
        for line in lines:
            assert not line or not story.is_read(line[0][0], cursor)
    assert lines == [[], [], []]


def _lose(
    story: Story, lines: list[list[tuple[Place, Row]]], *, span: tuple[Place, Place], points: int
) -> None:
    """Take the points of a gap from the subscription that lost them."""
    start, end = span
    for line in lines:
        if not line or story.is_read(line[0][0], start):
            continue
        lost = [place for place, _ in line if story.is_read(place, end)]
        if len(lost) == points:
            del line[:points]
            return
    raise AssertionError("nobody lost so many points there")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(stories)
def test_no_cursor_of_several_subscriptions_is_ahead_of_any(story_steps: list[Step]) -> None:
    world = a_world(ring=SMALL_RING, limits=HubLimits(pending_flushes_max=6, slow_grace_s=1e9))
    world.hub.views.message_points_max = 2
    story = Story(world, is_several=True)

    run(story, story_steps)

    for reader in story.readers:
        check_several(story, reader)
