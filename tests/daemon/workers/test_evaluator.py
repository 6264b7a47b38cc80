"""Alerts on a real database: points go in by the journal, alerts, steps, messages and events come
out in one transaction each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
from evaluators import Bench, a_bench
from stacks import NOW_US

from daemon.clock import as_datetime, as_us
from daemon.domain.errors import LeaseLost
from daemon.live.ring import Ring
from daemon.service import evaluating
from daemon.store.evaluation import JudgedByOldRules
from daemon.store.named_sql import load
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio

S = 1_000_000


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with a_bench(database) as made:
        yield made


async def test_a_breach_is_an_alert_with_its_cause_its_event_and_its_message(bench: Bench) -> None:
    rule_id = await bench.rule(notification_channels=["ops", "pager"], level="critical")
    await bench.send(50, 95)

    await bench.judge()

    [alert] = await bench.rows("select * from telemetry.alert")
    assert (alert["rule_id"], alert["device_id"], alert["status"]) == (rule_id, "oven", "active")
    assert alert["event_time"] == as_datetime(NOW_US + S)
    assert alert["message"] == "hot: temperature of oven is 95 (> 90)"
    [step] = await bench.rows("select * from telemetry.alert_step")
    assert (step["to"], step["reason"]) == ("fired", "breached")
    assert orjson.loads(step["inputs"])["value"] == 95
    [event] = await bench.rows("select * from telemetry.event where type = 'alert.triggered'")
    assert event["dedup_id"] == f"{alert['alert_id']}:triggered"
    assert orjson.loads(event["data"])["status"] == "active"
    messages = await bench.rows("select channel, kind, status from telemetry.notification")
    assert [(m["channel"], m["kind"], m["status"]) for m in messages] == [
        ("ops", "fire", "pending"),
        ("pager", "fire", "pending"),
    ]
    [rule] = await bench.rows("select total_triggers from telemetry.alert_rule")
    assert rule["total_triggers"] == 1


async def test_calm_ends_it_and_everybody_is_told_once(bench: Bench) -> None:
    await bench.rule(notification_channels=["ops"], auto_resolve_timeout=5)
    await bench.send(95, 1, 1, 1, 1, 1, 1)

    await bench.judge()

    assert await bench.alerts() == [("oven", "resolved", "cleared")]
    [alert] = await bench.rows("select * from telemetry.alert")
    assert alert["resolved_event_time"] == as_datetime(NOW_US + 5 * S)
    messages = await bench.rows("select kind from telemetry.notification order by ordinal")
    assert [m["kind"] for m in messages] == ["fire", "close"]
    events = await bench.rows("select type from telemetry.event order by seq")
    assert [e["type"] for e in events if e["type"].startswith("alert.")] == [
        "alert.triggered",
        "alert.resolved",
    ]


async def test_silence_ends_it_by_the_clock(bench: Bench) -> None:
    await bench.rule()
    await bench.send(95)
    await bench.judge()

    await bench.tick(299)
    before = await bench.alerts()
    await bench.tick(2)

    assert before == [("oven", "active", None)]
    assert await bench.alerts() == [("oven", "resolved", "no_data")]


async def test_an_evaluator_that_begins_anew_goes_on_where_the_other_was(bench: Bench) -> None:
    await bench.rule(evaluation_window=60, trigger_count=3)
    await bench.send(95, 95)
    await bench.judge()

    await bench.begin()
    await bench.send(95, at_s=2)
    await bench.judge()
    await bench.begin()
    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]


@pytest.mark.parametrize("on_loop", [20_000, 0])
async def test_a_late_point_completes_the_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, on_loop: int
) -> None:
    """Also when there is so much to look back on that it is judged in a thread."""
    monkeypatch.setattr(evaluating, "SAMPLES_ON_LOOP_MAX", on_loop)
    await bench.rule(evaluation_window=60, trigger_count=3, cooldown_minutes=0)
    await bench.send(95, at_s=0)
    await bench.send(95, at_s=10)
    await bench.send(1, at_s=20)
    await bench.judge()

    await bench.send(95, at_s=5)
    await bench.judge()

    [alert] = await bench.rows("select event_time from telemetry.alert")
    assert alert["event_time"] == as_datetime(NOW_US + 10 * S)


async def test_a_point_that_comes_too_late_is_counted_and_changes_nothing(bench: Bench) -> None:
    await bench.rule(auto_resolve_timeout=30)
    await bench.send(1, at_s=0)
    await bench.send(95, at_s=1)
    await bench.judge()

    await bench.send(95, at_s=-3600)
    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]
    [late] = await bench.rows("select device_id, samples from telemetry.late_sample")
    assert (late["device_id"], late["samples"]) == ("oven", 1)


async def test_a_shadow_is_recorded_and_tells_no_one(bench: Bench) -> None:
    await bench.rule(shadow=True, notification_channels=["ops"])
    await bench.send(95)
    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]
    assert await bench.rows("select 1 from telemetry.notification") == []
    assert await bench.rows("select 1 from telemetry.event where type like 'alert.%'") == []


async def test_only_its_devices_are_watched(bench: Bench) -> None:
    await bench.rule(device_ids=["fridge"])
    await bench.send(95, device="oven")
    await bench.send(95, device="fridge")
    await bench.judge()

    assert await bench.alerts() == [("fridge", "active", None)]


async def test_a_turn_judged_by_old_rules_writes_nothing(bench: Bench) -> None:
    await bench.rule()
    await bench.send(95)
    async with bench.database.transaction("control") as connection:
        await connection.execute(
            "update telemetry.alert_version set rules_version = rules_version + 1"
        )

    with pytest.raises(JudgedByOldRules):
        await bench.judge()

    assert await bench.alerts() == []
    assert not await bench.evaluating.is_current()


async def test_what_was_judged_before_a_new_rule_was_seen_is_judged_by_it(bench: Bench) -> None:
    await bench.rule(name="another", metric_name="pressure")
    await bench.send(1)
    await bench.judge()
    assert await bench.evaluating.is_current()
    await bench.rule(begins=False)
    await bench.send(95, at_s=1)
    await bench.judge()

    assert not await bench.evaluating.is_current()
    await bench.begin()
    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]


async def mark(bench: Bench, rule_id: str) -> None:
    """What the store does with a rule that is made or changed."""
    async with bench.database.transaction("control") as connection:
        await connection.execute(load("rules")["mark_rule"], rule_id)


async def fired_s(bench: Bench) -> list[tuple[str, str, float]]:
    """Rule, device and second of each alert."""
    rows = await bench.rows("select * from telemetry.alert order by event_time, rule_name")
    return [
        (row["rule_name"], row["device_id"], as_us(row["event_time"]) / S - NOW_US / S)
        for row in rows
    ]


@pytest.mark.parametrize("is_marked", [True, False])
async def test_a_rule_judges_nothing_that_was_committed_before_it_was_made(
    bench: Bench, is_marked: bool
) -> None:
    await bench.send(95)
    rule_id = await bench.rule(begins=False)
    if is_marked:
        await mark(bench, rule_id)
    await bench.begin()
    await bench.judge()
    before = await fired_s(bench)
    await bench.send(96, at_s=1)
    await bench.judge()

    assert before == ([] if is_marked else [("hot", "oven", 0.0)])
    assert await fired_s(bench) == [("hot", "oven", 1.0 if is_marked else 0.0)]


async def test_what_came_before_a_rule_counts_in_its_window(bench: Bench) -> None:
    await bench.send(95)
    rule_id = await bench.rule(begins=False, evaluation_window=60, trigger_count=2)
    await mark(bench, rule_id)
    await bench.begin()
    await bench.judge()
    await bench.send(96, at_s=1)
    await bench.judge()

    assert await fired_s(bench) == [("hot", "oven", 1.0)]


@pytest.mark.parametrize("is_read_from_the_journal", [True, False])
async def test_of_what_was_not_judged_yet_each_rule_takes_what_came_after_it(
    bench: Bench, is_read_from_the_journal: bool
) -> None:
    if is_read_from_the_journal:
        bench.evaluating._feed.ring.begin(1_000)
    await bench.send(95)
    first = await bench.rule(begins=False, name="first")
    await mark(bench, first)
    await bench.send(96, at_s=1)
    await bench.send(50, at_s=1, device="fridge")
    second = await bench.rule(begins=False, name="second")
    await mark(bench, second)
    await bench.send(97, at_s=2)
    await bench.begin()

    await bench.judge()

    assert await fired_s(bench) == [("first", "oven", 1.0), ("second", "oven", 2.0)]


async def test_a_fenced_evaluator_writes_nothing(bench: Bench) -> None:
    await bench.rule()
    await bench.send(95)
    async with bench.database.transaction("control") as connection:
        await connection.execute("update telemetry.consumer set lease_epoch = lease_epoch + 1")

    with pytest.raises(LeaseLost):
        await bench.judge()

    assert await bench.alerts() == []


async def test_blocks_that_left_the_ring_are_read_from_the_journal(
    bench: Bench, database: Database
) -> None:
    await bench.rule()
    await bench.send(95)
    await bench.stack.tail.turn()
    ring = Ring()
    ring.begin(bench.stack.tail.position)
    bench.evaluating._feed.ring = ring

    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]


async def test_a_storm_of_alerts_is_one_transaction(bench: Bench) -> None:
    await bench.rule(notification_channels=["ops"])
    bodies = {
        f"oven_{n}": [{"timestamp": NOW_US / S, "metric_name": "temperature", "value": 99}]
        for n in range(500)
    }
    answer = await bench.stack.post("/bulk", bodies)
    assert answer.status_code == 200

    await bench.judge()

    [count] = await bench.rows(
        "select count(*) as n, count(distinct xmin::text) as turns from telemetry.alert"
    )
    assert count == {"n": 500, "turns": 1}
    events = await bench.rows("select seq from telemetry.event where type = 'alert.triggered'")
    assert len(events) == 500


async def test_what_came_while_nobody_judged_is_not_late(bench: Bench) -> None:
    await bench.rule(cooldown_minutes=0, auto_resolve_timeout=5)
    for episode in range(4):
        await bench.send(95, at_s=episode * 400)
        await bench.send(1, at_s=episode * 400 + 200)
        bench.stack.clock.advance_s(400)
        if episode == 0:
            await bench.judge()
    await bench.stack.tail.turn()

    await bench.begin()
    await bench.judge()

    found = await bench.rows("select event_time from telemetry.alert order by event_time")
    assert [row["event_time"] for row in found] == [
        as_datetime(NOW_US + episode * 400 * S) for episode in range(4)
    ]
    assert await bench.rows("select 1 from telemetry.late_sample") == []


async def test_what_was_late_while_nobody_judged_is_late(bench: Bench) -> None:
    await bench.rule(cooldown_minutes=0, auto_resolve_timeout=5)
    await bench.send(1, at_s=0)
    bench.stack.clock.advance_s(2)
    await bench.judge()
    await bench.send(95, at_s=-3_600)
    await bench.send(95, at_s=1)
    await bench.stack.tail.turn()

    await bench.begin()
    await bench.judge()

    [alert] = await bench.rows("select event_time from telemetry.alert")
    assert alert["event_time"] == as_datetime(NOW_US + S)
    assert await bench.rows("select samples from telemetry.late_sample") == [{"samples": 1}]
