"""A watch fires once, with the transaction of the turn that saw it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from evaluators import Bench, a_bench
from stacks import ADMIN, NOW_US

from daemon.clock import as_datetime
from daemon.service.watches import Watches
from daemon.store.pool import Database
from daemon.store.watches import WatchStore

pytestmark = pytest.mark.anyio

S = 1_000_000


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with a_bench(database) as made:
        yield made


async def a_watch(bench: Bench, **fields: Any) -> str:
    """A watch for the oven to go from 0 to 1."""
    store = WatchStore(bench.database)
    watches = Watches(store, registry=bench.stack.registry, clock=bench.stack.clock)
    plain = {"device_id": "oven", "metric_name": "temperature", "from": 0, "to": 1}
    expires_at = as_datetime(NOW_US + 80 * 86_400 * S)
    watch = await watches.create(plain | {"expires_at": expires_at} | fields, by=ADMIN)
    async with bench.database.transaction("control") as connection:
        # The clock of the database is far ahead of this test's.
        await connection.execute(
            "update telemetry.watch set created_at = $1, expires_at = now() + interval '1 day'",
            as_datetime(NOW_US),
        )
    await bench.begin()
    return watch.watch_id


async def test_a_watch_fires_once_and_its_owner_is_told(bench: Bench) -> None:
    await bench.send(0)
    watch_id = await a_watch(bench, notification_channels=["me"])

    await bench.send(0, 1, 0, 1, at_s=1)
    await bench.judge()
    await bench.begin_elsewhere()
    await bench.send(0, 1, at_s=5)
    await bench.judge()

    [watch] = await bench.rows(
        "select fired_at, fired_event_time, fired_value from telemetry.watch"
    )
    assert watch["fired_at"] is not None
    assert watch["fired_event_time"] == as_datetime(NOW_US + 2 * S)
    assert orjson.loads(watch["fired_value"]) == 1
    [message] = await bench.rows("select * from telemetry.notification")
    assert (message["watch_id"], message["channel"], message["kind"]) == (watch_id, "me", "fire")
    assert orjson.loads(message["payload"])["message"] == "temperature of oven became 1"
    [event] = await bench.rows("select * from telemetry.event where type = 'watch.fired'")
    assert (event["subject"], event["device_id"]) == (watch_id, "oven")
    assert await bench.alerts() == []


async def test_what_changed_before_the_watch_was_made_does_not_fire_it(bench: Bench) -> None:
    await bench.begin()
    await bench.send(0, 1)
    await a_watch(bench)
    await bench.judge()
    [before] = await bench.rows("select fired_at from telemetry.watch")

    await bench.send(0, 1, at_s=5)
    await bench.judge()

    [after] = await bench.rows("select fired_event_time from telemetry.watch")
    assert before["fired_at"] is None
    assert after["fired_event_time"] == as_datetime(NOW_US + 6 * S)


async def test_other_changes_and_other_devices_do_not_fire_it(bench: Bench) -> None:
    await bench.send(0)
    await a_watch(bench)

    await bench.send(2, 1, at_s=1)
    await bench.send(0, 1, device="fridge", at_s=1)
    await bench.judge()

    assert await bench.rows("select 1 from telemetry.watch where fired_at is not null") == []


async def test_an_expired_watch_does_not_fire(bench: Bench) -> None:
    await bench.send(0)
    await a_watch(bench)
    async with bench.database.transaction("control") as connection:
        await connection.execute("update telemetry.watch set expires_at = now() - interval '1 s'")

    await bench.send(1, at_s=1)
    await bench.judge()

    assert await bench.rows("select 1 from telemetry.watch where fired_at is not null") == []
    assert await bench.rows("select 1 from telemetry.event where type = 'watch.fired'") == []


async def test_what_comes_too_late_for_a_watch_holds_nothing_up(bench: Bench) -> None:
    """It is counted for rules only: a row about a watch could not be stored, and the evaluator
    would try it again for ever."""
    await bench.rule()
    await bench.send(0)
    await a_watch(bench)
    await bench.judge()

    await bench.send(0, at_s=-86_400)
    await bench.judge()
    await bench.send(95, 0, 1, at_s=5)
    await bench.judge()

    assert await bench.alerts() == [("oven", "active", None)]
    [watch] = await bench.rows("select fired_at from telemetry.watch")
    assert watch["fired_at"] is not None
