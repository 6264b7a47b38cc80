"""How far behind the judging is, as any process of the fleet finds out."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest

from daemon.clock import ManualClock
from daemon.service.judging_watch import JudgingWatch
from daemon.store import leases
from daemon.store.figures import FigureStore
from daemon.store.leases import Grant
from daemon.store.named_sql import load
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio


class Fleet:
    """A follower `judge` in the database, a journal that ends at `head`, and a process that
    watches without judging itself."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock(0)
        self.head = 10
        judge = SimpleNamespace(judged_points=0)
        self.watch = JudgingWatch(
            FigureStore(database), self.clock, name="judge", judge=judge,
            head=lambda: self.head, stored=lambda: self.head,
        )  # fmt: skip

    async def begins(self, *, position: int, ttl_s: float = 60) -> Grant:
        await leases.begin(self.database, "judge", position=position)
        taken = await leases.take(self.database, "judge", holder=uuid4(), ttl_s=ttl_s)
        assert taken is not None
        return taken[0]

    async def judges(self, grant: Grant, start: int, end: int) -> None:
        move = load("leases")["move"]
        async with self.database.connection("control", writing=True) as connection:
            await connection.fetchval(move, "judge", grant.holder, grant.epoch, start, end)

    async def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance_s(1)
            await self.watch.look()

    @property
    def is_led(self) -> float:
        figures = {one.name: one for one in self.watch.read()}
        ((_, value),) = figures["telemetry_scheduler_leader"].values
        return value


@pytest.fixture
async def fleet(database: Database) -> Fleet:
    return Fleet(database)


async def test_a_process_that_does_not_judge_knows_that_another_does(fleet: Fleet) -> None:
    await fleet.begins(position=10)
    await fleet.pass_s(30)

    assert (fleet.is_led, fleet.watch.lag_s) == (1.0, 0.0)


async def test_each_work_is_led_or_not(fleet: Fleet) -> None:
    await fleet.begins(position=10)
    await leases.take(fleet.database, "housekeeping", holder=uuid4(), ttl_s=60)
    await fleet.pass_s(1)
    (led,) = [one for one in fleet.watch.read() if one.name == "telemetry_work_led"]

    assert {of[0][1]: value for of, value in led.values} == {
        "compactor": 0.0, "housekeeping": 1.0, "judge": 1.0,
    }  # fmt: skip


async def test_nobody_judges_when_the_lease_has_run_out(fleet: Fleet) -> None:
    await fleet.begins(position=10, ttl_s=-1)
    await fleet.pass_s(1)

    assert fleet.is_led == 0.0


async def test_the_lag_is_the_age_of_the_oldest_that_is_not_judged(fleet: Fleet) -> None:
    grant = await fleet.begins(position=10)
    await fleet.pass_s(1)
    for _ in range(20):
        fleet.head += 1
        await fleet.pass_s(1)
    behind_s = fleet.watch.lag_s
    await fleet.judges(grant, 10, 20)
    await fleet.pass_s(1)
    later_s = fleet.watch.lag_s
    await fleet.judges(grant, 20, 30)
    await fleet.pass_s(1)

    assert (behind_s, later_s, fleet.watch.lag_s) == (19, 10, 0)


async def test_who_judges_close_behind_a_steady_stream_does_not_lag(fleet: Fleet) -> None:
    grant = await fleet.begins(position=10)
    for _ in range(30):
        fleet.head += 100
        await fleet.pass_s(1)
        await fleet.judges(grant, fleet.head - 100, fleet.head)

        assert fleet.watch.lag_s == 0


async def test_what_nobody_judges_after_the_start_is_a_lag_too(fleet: Fleet) -> None:
    await fleet.pass_s(60)

    assert (fleet.is_led, fleet.watch.lag_s) == (0.0, 60.0)
