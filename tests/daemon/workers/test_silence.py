"""Silence raises as few alerts as explain it: for a metric, a device, a group, or all that is taken
in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from evaluators import Bench, a_bench
from stacks import ADMIN, NOW_US

from daemon.clock import as_datetime
from daemon.service.groups import Groups
from daemon.service.intake import Intake, IntakeNumbers
from daemon.store.groups import GroupStore
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio

S = 1_000_000
QUIET: dict[str, Any] = {
    "name": "quiet", "kind": "absence", "condition": None, "threshold_value": None,
    "cooldown_minutes": 0, "expected_interval": 10,
}  # fmt: skip


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with a_bench(database) as made:
        yield made


def fleet(count: int, *, first: int = 0) -> list[str]:
    return [f"oven_{n:03}" for n in range(first, first + count)]


async def send(bench: Bench, devices: Sequence[str], *, metric_name: str = "temperature") -> None:
    """One point of each, now."""
    now_s = bench.stack.clock.now_us() / S
    body = {d: [{"timestamp": now_s, "metric_name": metric_name, "value": 1}] for d in devices}
    answer = await bench.stack.post("/bulk", body)
    assert answer.status_code == 200, answer.text
    await bench.judge()


async def keep_sending(
    bench: Bench, devices: Sequence[str], *, for_s: int, every_s: int = 10
) -> None:
    """Points of each, with ticks between."""
    for _ in range(for_s // every_s):
        if devices:
            await send(bench, devices)
        for _ in range(every_s // 5):
            await bench.tick(5)


async def told(bench: Bench) -> list[tuple[str, str | None, str]]:
    """(scope, device or group, status) of all alerts in their order."""
    rows = await bench.rows(
        "select scope, device_id, group_id, status from telemetry.alert"
        " order by triggered_at, device_id, alert_id"
    )
    return [(row["scope"], row["device_id"] or row["group_id"], row["status"]) for row in rows]


async def a_group(bench: Bench, name: str, devices: Sequence[str]) -> str:
    """The id of a new group of devices that have sent something."""
    membership = bench.stack.registry.membership
    groups = Groups(GroupStore(bench.database), membership=membership, clock=bench.stack.clock)
    fields = {"name": name, "kind": "site", "device_ids": devices}
    return (await groups.create(fields, by=ADMIN)).group.group_id


async def test_one_of_many_devices_is_one_alert_that_ends_when_it_returns(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(50), for_s=60)

    await keep_sending(bench, fleet(49, first=1), for_s=60)
    silent = await told(bench)
    await keep_sending(bench, fleet(50), for_s=30)

    assert silent == [("device", "oven_000", "active")]
    assert await told(bench) == [("device", "oven_000", "resolved")]
    [alert] = await bench.rows("select event_time, message, resolved_reason from telemetry.alert")
    assert alert["event_time"] == as_datetime(NOW_US + 80 * S)
    assert alert["message"] == "quiet: oven_000 is silent; it has sent no temperature"
    assert alert["resolved_reason"] == "cleared"


async def test_all_devices_are_one_alert(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(500), for_s=30)

    await keep_sending(bench, [], for_s=100)
    silent = await told(bench)
    await keep_sending(bench, fleet(500), for_s=20)

    assert silent == [("group", None, "active")]
    assert await told(bench) == [("group", None, "resolved")]
    [step] = await bench.rows("select inputs from telemetry.alert_step where \"to\" = 'fired'")
    inputs = orjson.loads(step["inputs"])
    assert (inputs["silent"], inputs["watched"]) == (500, 500)


async def test_of_two_groups_the_silent_one_is_told(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(40), for_s=60)
    north = await a_group(bench, "north", fleet(20))
    await a_group(bench, "south", fleet(20, first=20))

    await keep_sending(bench, fleet(20, first=20), for_s=100)

    assert await told(bench) == [("group", north, "active")]
    [alert] = await bench.rows("select message from telemetry.alert")
    assert alert["message"] == "quiet: 20 of 20 devices of north send no temperature"


async def test_a_group_that_comes_back_partly_is_no_flood(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(100), for_s=60)
    await keep_sending(bench, [], for_s=60)

    await keep_sending(bench, fleet(60), for_s=60)
    partly = await told(bench)
    await keep_sending(bench, fleet(97), for_s=60)

    assert partly == [("group", None, "active")]
    assert await told(bench) == [
        ("group", None, "resolved"),
        *(("device", name, "active") for name in fleet(3, first=97)),
    ]


async def test_what_is_silent_already_is_not_told_again_with_all_others(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(50), for_s=60)
    await keep_sending(bench, fleet(49, first=1), for_s=60)

    await keep_sending(bench, [], for_s=100)

    assert await told(bench) == [("device", "oven_000", "active"), ("group", None, "active")]


async def test_a_device_whose_other_metrics_go_on_misses_one_metric(bench: Bench) -> None:
    await bench.rule(**QUIET)
    for _ in range(3):
        await send(bench, fleet(20), metric_name="humidity")
        await keep_sending(bench, fleet(20), for_s=30)
    for _ in range(8):
        await send(bench, fleet(20), metric_name="humidity")
        await keep_sending(bench, fleet(19, first=1), for_s=10)

    assert await told(bench) == [("metric", "oven_000", "active")]


async def test_an_outage_of_our_own_is_one_alert_and_no_device_s(bench: Bench) -> None:
    numbers = IntakeNumbers(1, 0, False)
    bench.evaluating.intake = Intake(lambda: numbers, now_us=NOW_US)
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(50), for_s=70)

    numbers = IntakeNumbers(1, 0, True)
    for _ in range(20):
        await bench.judge()
        await bench.tick(5)
    silent = await told(bench)
    numbers = IntakeNumbers(2, 0, False)
    await keep_sending(bench, fleet(50), for_s=60)

    assert silent == [("ingest", None, "active")]
    assert await told(bench) == [("ingest", None, "resolved")]


async def test_who_fell_silent_before_the_start_is_known(bench: Bench) -> None:
    await keep_sending_untold(bench, fleet(30), for_s=150)
    await keep_sending_untold(bench, fleet(29, first=1), for_s=300)
    await bench.rule(**QUIET | {"expected_interval": "auto"})
    await bench.judge()

    # Arrivals are by the clock of the database, which is far ahead of this test's.
    await keep_sending(bench, fleet(29, first=1), for_s=40)

    assert await told(bench) == [("device", "oven_000", "active")]
    [alert] = await bench.rows("select event_time from telemetry.alert")
    assert alert["event_time"] == as_datetime(NOW_US + 170 * S)


async def keep_sending_untold(bench: Bench, devices: Sequence[str], *, for_s: int) -> None:
    """Points every ten seconds, while nobody judges."""
    for _ in range(for_s // 10):
        body = {
            device: [
                {
                    "timestamp": bench.stack.clock.now_us() / S,
                    "metric_name": "temperature",
                    "value": 1,
                }
            ]
            for device in devices
        }
        answer = await bench.stack.post("/bulk", body)
        assert answer.status_code == 200
        bench.stack.clock.advance_s(10)
    await bench.stack.tail.turn()


async def test_a_learned_cadence_survives_a_restart(bench: Bench) -> None:
    await bench.rule(**QUIET | {"expected_interval": "auto"})
    await keep_sending(bench, fleet(30), for_s=150)

    await bench.begin_elsewhere()
    await keep_sending(bench, fleet(29, first=1), for_s=100)

    assert await told(bench) == [("device", "oven_000", "active")]
    [alert] = await bench.rows("select event_time from telemetry.alert")
    assert alert["event_time"] == as_datetime(NOW_US + 170 * S)


async def test_a_new_device_warms_up(bench: Bench) -> None:
    await bench.rule(**QUIET | {"expected_interval": "auto"})
    await keep_sending(bench, fleet(20), for_s=150)
    await send(bench, ["new"])

    await keep_sending(bench, fleet(20), for_s=600)

    assert await told(bench) == []


async def test_an_open_alert_of_silence_survives_a_restart(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(20), for_s=60)
    await keep_sending(bench, fleet(19, first=1), for_s=60)

    await bench.begin_elsewhere()
    await keep_sending(bench, fleet(19, first=1), for_s=120)
    still = await told(bench)
    await keep_sending(bench, fleet(20), for_s=10)

    assert still == [("device", "oven_000", "active")]
    assert await told(bench) == [("device", "oven_000", "resolved")]


async def test_no_data_alert_waits_until_a_breach_is_over(bench: Bench) -> None:
    await bench.rule(name="hot", no_data="alert", expected_interval=10, cooldown_minutes=0)
    await keep_sending(bench, fleet(20), for_s=60)
    hot = [{"timestamp": bench.stack.clock.now_us() / S, "metric_name": "temperature", "value": 99}]
    await bench.stack.post("/bulk", {"oven_000": hot})
    await bench.judge()

    await keep_sending(bench, fleet(18, first=2), for_s=60)

    rows = await bench.rows(
        "select device_id, by_silence, is_stale from telemetry.alert order by device_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("oven_000", False, False),
        ("oven_001", True, False),
    ]


async def test_a_database_that_was_away_is_one_alert_when_it_is_back(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(50), for_s=70)

    bench.evaluating.intake.failed(bench.stack.clock.now_us())
    bench.stack.clock.advance_s(120)
    await bench.begin()
    await bench.judge()
    await bench.tick(0)
    told_once = await told(bench)
    await keep_sending(bench, fleet(50), for_s=60)

    assert told_once == [("ingest", None, "active")]
    assert await told(bench) == [("ingest", None, "resolved")]


async def test_many_that_fall_silent_at_once_are_no_flood_though_others_go_on(
    bench: Bench,
) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(100), for_s=60)

    await keep_sending(bench, fleet(70, first=30), for_s=100)

    assert await told(bench) == [("group", None, "active")]


async def test_an_edit_of_another_rule_changes_nothing(bench: Bench) -> None:
    await bench.rule(**QUIET)
    await keep_sending(bench, fleet(20), for_s=60)
    await keep_sending(bench, fleet(19, first=1), for_s=60)

    await bench.rule(name="hot")
    await keep_sending(bench, fleet(19, first=1), for_s=30)

    assert await told(bench) == [("device", "oven_000", "active")]


async def test_a_silence_that_outlasts_a_cooldown_is_told_when_that_ends(bench: Bench) -> None:
    await bench.rule(**QUIET | {"cooldown_minutes": 5})
    await keep_sending(bench, fleet(20), for_s=60)
    await keep_sending(bench, fleet(19, first=1), for_s=60)
    await keep_sending(bench, fleet(20), for_s=30)

    await keep_sending(bench, fleet(19, first=1), for_s=400)

    assert await told(bench) == [
        ("device", "oven_000", "resolved"),
        ("device", "oven_000", "active"),
    ]
    alerts = await bench.rows("select event_time from telemetry.alert order by event_time")
    assert [a["event_time"] for a in alerts] == [
        as_datetime(NOW_US + 80 * S),
        as_datetime(NOW_US + 380 * S),
    ]
