"""Who gets what, when: budgets, places, gaps, heartbeats and goodbyes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hubs import EPOCH, PLENTY, START_US, Listener, a_world
from stacks import ADMIN

from daemon.clock import SystemClock
from daemon.domain.access import Principal
from daemon.domain.block import Block
from daemon.domain.catalog import SeriesRow
from daemon.domain.cursors import Cursor
from daemon.domain.events import Event
from daemon.domain.groups import GroupNode
from daemon.domain.interest import make_interest
from daemon.domain.kinds import Kind
from daemon.live.connection import Budget
from daemon.live.dispatch import HubLimits
from daemon.live.hub import Hub
from daemon.live.ring import Entry, Ring, RingLimits
from daemon.live.views import Views

pytestmark = pytest.mark.anyio
TEN = Budget(messages_per_s=10, burst=2, messages_per_minute=1_000)


def an_event(seq: int, **about: Any) -> Event:
    at = datetime(2025, 12, 18, 12, tzinfo=UTC)
    event = Event(
        seq, f"evt_{seq}", "deploy.done", "info", None, "done", "{}", None, None, at, "key_test"
    )
    return replace(event, **about)


# -- who gets what -----------------------------------------------------------------------------


async def test_everybody_gets_the_points_that_were_asked_for() -> None:
    world = a_world()
    everything, _ = world.listen()
    device, _ = world.listen(devices=["d2"])
    metric, _ = world.listen(metrics=["n"])
    world.publish((1, 10), (3, 11), (4, 12), (8, 13))

    await world.turn()

    assert everything.values() == [10, 11, 12, 13]
    assert device.values() == [11, 12]
    assert metric.values() == [12, 13]


async def test_a_message_has_the_envelope_of_the_contract() -> None:
    world = a_world()
    listener, _ = world.listen(devices=["d1"])
    seq = world.publish((1, 10.5))

    await world.turn()

    assert listener.frames() == [
        {
            "type": "update",
            "timestamp": "2025-12-18T12:00:00Z",
            "cursor": f"{EPOCH}-{seq}",
            "data": {
                "data_points": [
                    {
                        "timestamp": "2025-12-18T12:00:01Z",
                        "device_id": "d1",
                        "metric_name": "m",
                        "value": 10.5,
                        "unit": None,
                    }
                ]
            },
        }
    ]


async def test_tags_choose_among_the_points_of_a_series() -> None:
    world = a_world()
    listener, _ = world.listen(tags={"room": "1"})
    contexts = [b'{"tags":{"room":"1","x":"y"}}', b'{"tags":{"room":"2"}}']
    world.publish_block(
        Block(
            np.array([1, 1, 1], np.int32), np.arange(3) + START_US, np.array([1.0, 2.0, 3.0]),
            np.array([0, 1, -1], np.int32), contexts,
        )
    )  # fmt: skip

    await world.turn()

    assert listener.values() == [1]


async def test_a_key_gets_only_what_it_may_see() -> None:
    world = a_world()
    bound = Principal("key_1", "one", frozenset({"read"}), devices=("d1", "d2"), metrics=("m",))
    listener, _ = world.listen(by=bound)
    named, _ = world.listen(by=bound, devices=["d2", "d3"])
    world.publish(*((series_id, series_id) for series_id in range(1, 9)))

    await world.turn()

    assert listener.values() == [1, 3]
    assert named.values() == [3]


async def test_equal_subscriptions_share_their_messages() -> None:
    world = a_world()
    listeners = [world.listen(devices=["d1"])[0] for _ in range(3)]
    world.publish((1, 1))

    await world.turn()

    assert len({id(listener.messages[0]) for listener in listeners}) == 1
    assert world.hub.numbers()["feeds"] == 1


async def test_a_series_that_appears_later_is_found() -> None:
    world = a_world()
    listeners = [world.listen(devices=["d1"])[0], world.listen(metrics=["new"])[0]]
    world.registry.add([SeriesRow(5_000, "d1", "new", Kind.NUMERIC)])
    world.publish((5_000, 7))

    await world.turn()

    assert [listener.values() for listener in listeners] == [[7], [7]]


async def test_a_device_that_is_gone_from_the_catalogue_is_not_shown() -> None:
    world = a_world()
    listeners = [world.listen(devices=["d1"])[0], world.listen(metrics=["m"])[0]]
    world.publish((1, 1))
    await world.turn()
    world.registry.replace(
        [SeriesRow(3, "d2", "m", Kind.NUMERIC)], definitions={}, retention_days={}
    )
    world.registry.version += 1
    world.publish((1, 2), (3, 3))

    await world.turn()

    assert [listener.values() for listener in listeners] == [[1], [1, 3]]


async def test_members_of_a_group_come_and_go() -> None:
    world = a_world()
    listener, _ = world.listen(groups=["grp_1"])
    group = GroupNode("grp_1", "one", None, 1)
    membership = world.registry.membership
    for version, devices in enumerate((("d1",), ("d2", "d3"), ()), start=1):
        members = {"grp_1": frozenset(devices)}
        membership.replace([group], version=version, members=members)
        world.publish((1, version * 10 + 1), (3, version * 10 + 2))
        await world.turn()

    assert listener.values() == [11, 22]


async def test_who_parts_gets_nothing_more_and_nothing_is_left() -> None:
    world = a_world()
    listener, connection = world.listen(devices=["d1"])
    world.publish((1, 1))
    await world.turn()
    world.hub.part(connection, "s")
    world.publish((1, 2))

    await world.turn()

    numbers = world.hub.numbers()
    assert listener.values() == [1]
    assert (numbers["feeds"], numbers["lines"], numbers["connections"]) == (0, 0, 1)
    world.hub.leave(connection)
    world.hub.leave(connection)
    assert world.hub.numbers()["connections"] == 0


# -- places ------------------------------------------------------------------------------------


async def test_who_resumes_gets_what_came_meanwhile_once() -> None:
    world = a_world()
    for value in range(1, 6):
        world.publish((1, value), (3, value + 100))
        await world.turn()
    listener, _ = world.listen(after=2, devices=["d1"])
    await world.turn()
    world.publish((1, 6))

    await world.turn()

    assert listener.values() == [3, 4, 5, 6]
    assert [frame["cursor"] for frame in listener.frames("update")] == ["e1-5", "e1-6"]


async def test_a_cursor_inside_a_block_goes_on_behind_the_points_that_were_read() -> None:
    world = a_world()
    world.publish((1, 1))
    world.seq += 1
    world.publish((1, 2), (1, 3), (1, 4))
    await world.turn()
    listener, _ = world.listen(after=Cursor(EPOCH, 1, 2))

    await world.turn()

    assert listener.values() == [4]


async def test_who_comes_from_a_daemon_that_is_ahead_gets_nothing_twice() -> None:
    world = a_world()
    listener, _ = world.listen(after=Cursor(EPOCH, 2))
    for value in range(1, 4):
        world.publish((1, value))
        await world.turn(after_s=0.1)

    await world.turn(after_s=0.1)

    assert listener.values() == [3]


async def test_a_large_flush_is_cut_between_points_and_each_cursor_goes_on_there() -> None:
    world = a_world()
    world.hub.views.message_points_max = 2
    listener, _ = world.listen(metrics=["m"])
    world.publish((1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (7, 7))
    await world.turn()
    cursors = [frame["cursor"] for frame in listener.frames("update")]
    offset = int(cursors[0].partition(".")[2])
    other, _ = world.listen(metrics=["m"], after=Cursor(EPOCH, 0, offset))

    await world.turn()

    assert listener.values() == [1, 3, 5, 7]
    assert cursors == ["e1-0.3", "e1-1"]
    assert other.values() == [5, 7]


async def test_no_message_is_larger_than_allowed() -> None:
    world = a_world()
    listener, _ = world.listen()
    texts = {at: "x" * 30_000 for at in range(10)}
    world.publish_block(
        Block(
            np.full(10, 1, np.int32), np.arange(10) + START_US, np.full(10, np.nan), objects=texts
        )
    )

    await world.turn()

    assert [len(frame["data"]["data_points"]) for frame in listener.frames()] == [3, 3, 3, 1]
    assert max(len(message.body) for message in listener.messages) <= 100_000


async def test_frames_of_several_subscriptions_never_name_a_place_that_was_not_reached() -> None:
    world = a_world()
    world.hub.views.message_points_max = 2
    listener, connection = world.listen(devices=["d1"])
    world.subscribe(connection, "t", make_interest(devices=["d2"]))
    for _ in range(2):
        world.publish((1, 1), (1, 2), (1, 3), (3, 11), (3, 12), (3, 13))

    await world.turn()

    frames = listener.frames("update")
    seen: list[float] = []
    for frame in frames:
        seen += [point["value"] for point in frame["data"]["data_points"]]
        seq = int(frame["cursor"].partition("-")[2].partition(".")[0])
        assert len([value for value in seen if value < 10]) >= 3 * seq
        assert len([value for value in seen if value > 10]) >= 3 * seq
    assert sorted(seen) == sorted([1, 2, 3, 11, 12, 13] * 2)
    assert frames[-1]["cursor"] == "e1-2"


async def test_a_cursor_stays_behind_what_the_journal_still_serves() -> None:
    world = a_world()
    listener, connection = world.listen(devices=["d1"])
    connection.held["t"] = (0, 3)
    world.publish((1, 1))
    await world.turn()
    del connection.held["t"]
    world.publish((1, 2))

    await world.turn()

    assert [frame["cursor"] for frame in listener.frames()] == ["e1-0.3", "e1-2"]


# -- budgets and pace --------------------------------------------------------------------------


async def test_above_the_budget_flushes_are_merged() -> None:
    world = a_world()
    listener, _ = world.listen(budget=TEN)
    for value in range(10):
        world.publish((1, value))
        await world.turn(after_s=0.01)

    await world.turn(after_s=0.1)

    assert listener.values() == list(range(10))
    sizes = [len(frame["data"]["data_points"]) for frame in listener.frames("update")]
    assert sizes == [1, 1, 8]


def test_the_ceiling_of_a_minute_is_kept_by_construction() -> None:
    for budget in (Budget(), Budget(10, 600, 1_000), Budget(100, 100, 1_000), Budget(20, 1, 60)):
        per_minute = 60 / budget.interval_s + 1 + budget.tolerance_s / budget.interval_s
        assert per_minute <= budget.messages_per_minute + 1e-9
    assert Budget().interval_s == 0.1


async def test_a_paced_subscription_gets_the_newest_value_of_each_series() -> None:
    world = a_world()
    listener, _ = world.listen(max_frequency_ms=1_000)
    times: list[float] = []
    for value in range(30):
        world.publish((1, value), (3, 100 + value), second=value)
        await world.turn(after_s=0.1)
        times += [value] * (len(listener.messages) - len(times))

    assert len(listener.messages) in (3, 4)
    assert all(later - earlier >= 10 for earlier, later in pairwise(times))
    assert all(value % 100 == other % 100 for value, other in _pairs(listener.values()))


def _pairs(values: list[float]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))


async def test_the_newest_value_is_that_of_the_latest_time_then_of_the_latest_commit() -> None:
    world = a_world()
    listener, _ = world.listen(max_frequency_ms=1_000)
    world.publish((1, 0), second=0)
    await world.turn()
    for value, second in ((1, 5), (2, 9), (3, 9), (4, 2)):
        world.publish((1, value), second=second)
        await world.turn()

    await world.turn(after_s=2)

    assert listener.values() == [0, 3]


# -- those that can't keep up ------------------------------------------------------------------


async def test_who_falls_behind_the_ring_is_told_what_is_lost() -> None:
    world = a_world(ring=RingLimits(points=4, bytes=10**9, entries=100))
    listener, connection = world.listen(devices=["d1"])
    listener.room = 1
    for value in range(1, 11):
        world.publish((1, value))
        await world.turn()
    listener.room = None
    world.hub.drained(connection)

    await world.turn()

    assert [frame["type"] for frame in listener.frames()] == ["update", "warning", "gap", "update"]
    warning, gap = listener.frames("warning", "gap")
    assert warning["data"] == {"dropped": 5, "from": "e1-1", "to": "e1-6"}
    assert gap["data"] == {"from": "e1-1", "to": "e1-6", "points": 5, "reason": "slow_consumer"}
    assert gap["cursor"] == "e1-6"
    assert listener.values() == [1, 7, 8, 9, 10]


async def test_a_socket_that_takes_nothing_is_told_closed_and_then_ended() -> None:
    world = a_world(limits=HubLimits(slow_grace_s=10))
    listener, connection = world.listen(devices=["d1"])
    listener.room = 1
    world.publish((1, 1))
    await world.turn()
    world.publish((1, 2), (1, 3))
    await world.turn()
    await world.turn(after_s=9)
    before = listener.closed
    await world.turn(after_s=2)
    closed, is_aborted = listener.closed, listener.is_aborted
    await world.turn(after_s=6)

    assert before is None
    assert closed is not None
    assert closed[0] == 4008
    assert not is_aborted
    assert listener.is_aborted
    (gap,) = listener.frames("gap")
    assert gap["data"] == {"from": "e1-1", "to": "e1-2", "points": 2, "reason": "slow_consumer"}
    world.hub.leave(connection)
    assert world.hub.numbers()["slow_connections"] == 0


async def test_others_do_not_notice_one_that_takes_nothing() -> None:
    world = a_world()
    stuck, _ = world.listen()
    stuck.room = 0
    others = [world.listen()[0] for _ in range(3)]
    for value in range(5):
        world.publish((1, value))
        await world.turn()

    assert [listener.values() for listener in others] == [[0, 1, 2, 3, 4]] * 3
    assert len(stuck.messages) <= 1


# -- newest values and events ------------------------------------------------------------------


async def test_the_latest_channel_shows_all_then_what_changed() -> None:
    world = a_world()
    world.publish((1, 5), (3, 6))
    await world.turn()
    listener, _ = world.listen(channels=["latest"], devices=["d1"])
    await world.turn()
    for value in (7, 7, 8):
        world.publish((1, value))
        await world.turn()

    snapshot, *updates = listener.frames()
    assert snapshot["type"] == "snapshot"
    assert snapshot["data"]["latest"] == {
        "d1": {
            "m": {
                "value": 5,
                "unit": None,
                "timestamp": "2025-12-18T12:00:01Z",
                "tags": {},
                "metadata": {},
                "changed_at": "2025-12-18T12:00:01Z",
                "previous_value": None,
            }
        }
    }
    fields = [frame["data"]["latest"]["d1"]["m"] for frame in updates]
    assert fields[0]["value"] == 7
    assert fields[1] == {"timestamp": "2025-12-18T12:00:03Z"}
    assert fields[2] == {
        "timestamp": "2025-12-18T12:00:04Z",
        "value": 8,
        "changed_at": "2025-12-18T12:00:04Z",
        "previous_value": 7,
    }


async def test_a_late_point_changes_nothing_that_is_newest() -> None:
    world = a_world()
    world.publish((1, 5), second=50)
    await world.turn()
    listener, _ = world.listen(channels=["latest"], devices=["d1"])
    await world.turn()
    for second, value in ((51, 6), (3, 7)):
        world.publish((1, value), second=second)
        await world.turn()

    values = [frame["data"]["latest"]["d1"]["m"]["value"] for frame in listener.frames()]
    assert values == [5, 6]


async def test_applying_what_the_latest_channel_sends_gives_the_newest_values() -> None:
    world = a_world()
    world.hub.views.message_bytes_max = 700
    listener, connection = world.listen(channels=["latest"], budget=TEN)
    other, _ = world.listen(channels=["latest"], budget=PLENTY)
    numbers = np.random.default_rng(7)
    for step in range(60):
        rows = numbers.choice(8, size=3, replace=False) + 1
        world.publish(*((int(row), int(numbers.integers(3))) for row in rows))
        if step == 20:
            listener.room = 0
        if step == 40:
            listener.room = None
            world.hub.drained(connection)
        await world.turn(after_s=0.02)
    for _ in range(5):
        await world.turn(after_s=1)
    fresh, _ = world.listen(channels=["latest"])
    await world.turn()

    assert _merged(listener) == _merged(other) == _merged(fresh)
    assert len(_merged(fresh)) == 8


def _merged(listener: Listener) -> dict[tuple[str, str], dict[str, Any]]:
    state: dict[tuple[str, str], dict[str, Any]] = {}
    for frame in listener.frames("snapshot", "update"):
        for device, metrics in frame["data"]["latest"].items():
            for metric, fields in metrics.items():
                state.setdefault((device, metric), {}).update(fields)
    return state


async def test_events_come_one_by_one_to_those_who_may_see_them() -> None:
    world = a_world()
    bound = Principal("key_1", "one", frozenset({"read"}), devices=("d1",))
    admin, _ = world.listen(channels=["events"])
    reader, _ = world.listen(by=bound, channels=["events"])
    device, _ = world.listen(channels=["events"], devices=["d2"])
    for at, device_id in enumerate((None, "d1", "d2"), start=1):
        world.tell(an_event(at, device_id=device_id))

    await world.turn()

    heard = [
        [frame["data"]["event_id"] for frame in one.frames()] for one in (admin, reader, device)
    ]
    assert heard == [["evt_1", "evt_2", "evt_3"], ["evt_2"], ["evt_3"]]
    assert [frame["type"] for frame in admin.frames()] == ["event"] * 3
    assert [frame["cursor"] for frame in admin.frames()] == ["e1-1", "e1-2", "e1-3"]


async def test_channels_of_one_subscription_share_a_connection() -> None:
    world = a_world()
    listener, _ = world.listen(channels=["telemetry", "events"])
    world.publish((1, 1))
    world.tell(an_event(2))
    world.publish((1, 2))

    await world.turn()

    assert listener.values() == [1, 2]
    assert len(listener.frames("event")) == 1
    assert listener.frames()[-1]["cursor"] == "e1-3"


# -- life of a connection ----------------------------------------------------------------------


async def test_a_heartbeat_comes_every_30_seconds_with_the_place() -> None:
    world = a_world()
    listener, connection = world.listen(devices=["d1"])
    for second in range(61):
        connection.seen_s = world.clock.monotonic_s()
        world.publish((3, second))
        await world.turn(after_s=1)

    pings = listener.frames("ping")
    assert len(pings) == 2
    assert int(pings[1]["cursor"].partition("-")[2]) - int(
        pings[0]["cursor"].partition("-")[2]
    ) == pytest.approx(30, abs=1)


async def test_who_gives_no_sign_of_life_is_closed_but_not_who_can_not() -> None:
    world = a_world()
    dead, _ = world.listen()
    mute = Listener()
    connection = world.hub.connect(mute, ADMIN, budget=PLENTY, is_mute=True)
    world.subscribe(connection, "s", make_interest())
    for _ in range(95):
        await world.turn(after_s=1)

    assert dead.closed is not None
    assert dead.is_aborted
    assert mute.closed is None


async def test_who_asks_for_nothing_for_five_minutes_is_closed() -> None:
    world = a_world()
    idle = Listener()
    idle_connection = world.hub.connect(idle, ADMIN, budget=PLENTY)
    quiet, quiet_connection = world.listen()
    for _ in range(340):
        idle_connection.seen_s = quiet_connection.seen_s = world.clock.monotonic_s()
        await world.turn(after_s=1)

    assert idle.closed is not None
    assert idle.closed[0] == 1000
    assert quiet.closed is None


async def test_a_shutdown_tells_everybody_where_they_are() -> None:
    world = a_world()
    listener, _ = world.listen(devices=["d1"])
    stuck, _ = world.listen(devices=["d1"])
    stuck.room = 1
    for value in range(2):
        world.publish((1, value))
        await world.turn()
    world.hub.shutdown()

    await world.turn()

    assert listener.frames()[-1]["type"] == "shutdown"
    assert listener.frames()[-1]["cursor"] == "e1-2"
    assert stuck.frames("shutdown")[0]["cursor"] == "e1-1"
    assert [one.closed and one.closed[0] for one in (listener, stuck)] == [1012, 1012]


# -- the loop ----------------------------------------------------------------------------------


async def test_the_loop_passes_on_what_is_published_and_what_is_due() -> None:
    """On the real clock: a paced subscription is served although nothing else happens."""
    world = a_world()
    hub = Hub(Views(world.registry, world.latest, SystemClock()), ring=Ring())
    hub.begin(0)
    at_once, paced = Listener(), Listener()
    for listener, frequency_ms in ((at_once, None), (paced, 100)):
        connection = hub.connect(listener, ADMIN, budget=PLENTY)
        interest = make_interest(devices=["d1"], max_frequency_ms=frequency_ms)
        hub.join(connection, "s", interest, after=None)

    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(hub.run())
        for values in ((1,), (2, 3, 4, 5)):
            for value in values:
                number = np.array([float(value)])
                hub.publish(Entry(value, Block(np.array([1], np.int32), np.array([value]), number)))
            async with asyncio.timeout(60):
                while not all(one.values()[-1:] == [value] for one in (at_once, paced)):
                    await asyncio.sleep(0.01)
        loop.cancel()

    assert at_once.values() == [1, 2, 3, 4, 5]
    assert paced.values() == [1, 5]


async def test_one_feed_that_fails_is_a_loss_for_it_and_nothing_for_others() -> None:
    world = a_world()
    broken, _ = world.listen(devices=["d1"])
    well, _ = world.listen(devices=["d2"])
    world.publish_block(
        Block(
            np.array([1, 3], np.int32), np.arange(2) + START_US, np.array([np.nan, 2.0]),
            objects={0: object()},
        )
    )  # fmt: skip
    await world.turn()
    world.publish((1, 3), (3, 4))

    await world.turn()

    assert broken.values() == [3]
    assert broken.frames("gap")[0]["data"]["points"] == 1
    assert well.values()[-1:] == [4]
    gaps = well.frames("gap")
    assert len(well.values()) + sum(gap["data"]["points"] for gap in gaps) == 2


async def test_a_large_flush_is_not_written_all_in_one_turn() -> None:
    world = a_world()
    world.hub.views.message_points_max = 1
    listener, _ = world.listen(devices=["d1"])
    world.publish(*((1, value) for value in range(100)))
    await world.turn()
    first = len(listener.messages)
    for _ in range(100):
        await world.turn()

    assert first < 20
    assert listener.values() == list(range(100))


async def test_a_wide_snapshot_comes_in_parts_of_which_the_first_is_the_snapshot() -> None:
    world = a_world()
    world.hub.views.message_bytes_max = 600
    world.publish(*((series_id, series_id) for series_id in range(1, 9)))
    await world.turn()
    listener, _ = world.listen(channels=["latest"])
    for _ in range(10):
        await world.turn()

    kinds = [frame["type"] for frame in listener.frames()]
    assert kinds[0] == "snapshot"
    assert set(kinds[1:]) == {"update"}
    assert len(_merged(listener)) == 8
