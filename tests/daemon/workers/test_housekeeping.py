"""Partitions ahead, retention behind: nothing young, and nothing still needed, ever goes."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from alert_builder import an_alert
from event_builder import an_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.clock import ManualClock, SystemClock, as_datetime
from daemon.domain.chunk import DAY_US
from daemon.domain.errors import LeaseLost
from daemon.domain.kinds import Kind
from daemon.domain.rollup import HOUR_US
from daemon.service.retention import Keep, Retention
from daemon.store.alerts import AlertStore
from daemon.store.events import EventStore
from daemon.store.housekeeping import drop_partition, list_detached, list_partitions
from daemon.store.journal import JournalStore
from daemon.store.leases import begin
from daemon.store.pool import Database
from daemon.store.rollups import read_rollups
from daemon.store.series import SeriesStore
from daemon.workers.housekeeping import Housekeeping
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio


def a_housekeeping(database: Database, keep: Keep | None = None) -> Housekeeping:
    clock = SystemClock()
    lease = Lease(database, "housekeeping", holder=uuid4(), clock=clock)
    return Housekeeping(Retention(database, keep), lease, clock=clock)


async def execute(database: Database, sql: str, *arguments: object) -> None:
    async with database.connection("control") as connection:
        await connection.execute(sql, *arguments)


async def an_old_hour(database: Database, *, hours_ago: int, blocks: int = 1) -> str:
    """Put a partition with blocks in the past; returns its name."""
    # The hour may turn meanwhile.
    at = as_datetime(SystemClock().now_us()) - timedelta(hours=hours_ago)
    await execute(database, "select telemetry.journal_make_partitions($1, 1)", at)
    for _ in range(blocks):
        await execute(
            database,
            "insert into telemetry.journal select nextval('telemetry.journal_seq'), $1, $2, 1, 'x'",
            at,
            uuid4(),
        )
    return f"journal_{at:%Y%m%d%H}"


async def names(database: Database) -> list[str]:
    return [partition.name for partition in await list_partitions(database)]


async def all_followers_at(database: Database, position: int) -> None:
    await execute(
        database,
        "update telemetry.consumer set position = $1 where name <> 'housekeeping'",
        position,
    )


async def test_partitions_reach_two_days_ahead(database: Database) -> None:
    now_us = SystemClock().now_us() + 30 * DAY_US

    await asyncio.gather(*(Retention(database).make_partitions(now_us) for _ in range(3)))

    wanted = [now_us // HOUR_US + at for at in range(-1, 49)]
    made = set(await names(database))
    assert {ManualHour(hour).name for hour in wanted} <= made


class ManualHour:
    """The name of the partition of an hour since 1970."""

    def __init__(self, hour: int) -> None:
        at = np.datetime64(hour, "h").astype(str)
        self.name = "journal_" + re.sub(r"\D", "", at)


async def test_an_old_hour_that_everybody_has_read_goes(database: Database) -> None:
    name = await an_old_hour(database, hours_ago=60)
    await all_followers_at(database, 1)

    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert done["partitions_dropped"] == 1
    assert name not in await names(database)
    assert await list_detached(database) == []


async def test_an_hour_that_a_follower_still_needs_stays(database: Database) -> None:
    name = await an_old_hour(database, hours_ago=60, blocks=2)
    await all_followers_at(database, 1)

    await a_housekeeping(database, Keep(journal_bytes=0)).run_once(SystemClock().now_us())

    assert name in await names(database)


async def test_an_hour_that_only_the_relay_needs_goes_when_it_is_old(database: Database) -> None:
    name = await an_old_hour(database, hours_ago=60, blocks=2)
    younger = await an_old_hour(database, hours_ago=40)
    await begin(database, "relay", position=0)
    await all_followers_at(database, 3)
    await execute(database, "update telemetry.consumer set position = 0 where name = 'relay'")

    await a_housekeeping(database).run_once(SystemClock().now_us())

    assert name not in await names(database)
    assert younger in await names(database)


async def test_what_goes_is_known_before_it_is_gone(database: Database) -> None:
    await an_old_hour(database, hours_ago=60, blocks=2)
    await all_followers_at(database, 2)

    await a_housekeeping(database).run_once(SystemClock().now_us())

    journal = JournalStore(database, writer=uuid4())
    assert await journal.bounds() == (2, 2)


async def test_old_events_go_and_the_feed_knows(database: Database) -> None:
    events = EventStore(database)
    old = [await events.insert(an_event()) for _ in range(3)]
    young = await events.insert(an_event())
    await execute(
        database,
        "update telemetry.event set created_at = created_at - interval '91 days' where seq <= $1",
        old[-1].seq,
    )

    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert done["events"] == 3
    assert await events.newest(limit=10) == [young]
    assert (await events.bounds())[0] == old[-1].seq


async def test_alerts_go_a_year_after_they_ended(database: Database) -> None:
    ended = {"status": "resolved", "resolved_reason": "cleared"}
    now = as_datetime(SystemClock().now_us())
    for days in (366, 364):
        at = now - timedelta(days=days)
        await an_alert(database, rule_id="rul_1", device_id="a", resolved_at=at, **ended)
    long_open = await an_alert(
        database, rule_id="rul_1", device_id="a", triggered_at=now - timedelta(days=400)
    )

    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert done["alerts"] == 1
    assert await AlertStore(database).find(long_open) is not None


async def test_a_young_hour_stays_although_it_was_read(database: Database) -> None:
    name = await an_old_hour(database, hours_ago=40)
    await all_followers_at(database, 1)

    await a_housekeeping(database).run_once(SystemClock().now_us())

    assert name in await names(database)


async def test_a_young_hour_goes_when_the_journal_is_too_large(database: Database) -> None:
    name = await an_old_hour(database, hours_ago=40)
    await all_followers_at(database, 1)

    await a_housekeeping(database, Keep(journal_bytes=0)).run_once(SystemClock().now_us())

    assert name not in await names(database)


async def test_a_reader_of_the_journal_holds_up_neither_appends_nor_housekeeping(
    database: Database,
) -> None:
    name = await an_old_hour(database, hours_ago=60)
    await all_followers_at(database, 1)
    journal = JournalStore(database, writer=uuid4())
    keeper = a_housekeeping(database)
    now_us = SystemClock().now_us()
    # The database was made from one that may have been there for hours.
    await Retention(database).make_partitions(now_us)

    async with database.transaction("query") as reader:
        await reader.fetch("select count(*) from telemetry.journal")
        dropping = asyncio.ensure_future(keeper.run_once(now_us + 2 * HOUR_US))
        while not dropping.done():
            await journal.append(b"x", points=1, catalog_version=1)
            await asyncio.sleep(0.02)
        assert (await dropping)["partitions_made"] == 2
        assert await reader.fetchval("select 1") == 1
    await keeper.run_once(now_us)

    assert name not in await names(database)
    assert await list_detached(database) == []


async def test_only_a_partition_of_the_journal_can_be_dropped(database: Database) -> None:
    with pytest.raises(ValueError, match="not a partition"):
        await drop_partition(database, "journal_2026112100; drop table telemetry.chunk")


async def test_old_answers_and_dead_daemons_are_forgotten(database: Database) -> None:
    await execute(
        database,
        "insert into telemetry.ingest_batch (scope, batch_id, payload_hash, answer, created_at)"
        " select 's', g::text, 'h', 'a', clock_timestamp() - make_interval(days => g)"
        " from generate_series(0, 10) g",
    )
    await execute(
        database,
        "insert into telemetry.daemon (instance, address, seen_at)"
        " select gen_random_uuid(), 'x', clock_timestamp() - make_interval(mins => g)"
        " from unnest(array[1, 90]) g",
    )

    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert done["batches"] == 4
    async with database.connection("query") as connection:
        assert await connection.fetchval("select count(*) from telemetry.daemon") == 1


async def test_ended_subscriptions_and_old_tickets_go_and_the_others_stay(
    database: Database,
) -> None:
    for name, minutes in (("old", 6), ("ended", 1), ("open", -1)):
        await execute(
            database,
            "insert into telemetry.subscription (subscription_id, key_id, wanted, expires_at)"
            " values ($1, 'key', '{}', clock_timestamp() - make_interval(mins => $2))",
            name,
            minutes,
        )
        await execute(
            database,
            "insert into telemetry.ticket (ticket_hash, key_id, expires_at)"
            " values ($1, 'key', clock_timestamp() - make_interval(mins => $2))",
            name.encode(),
            minutes,
        )
    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert (done["subscriptions"], done["tickets"]) == (1, 1)


async def test_budgets_that_nobody_uses_are_forgotten_when_they_are_whole(
    database: Database,
) -> None:
    for name, minutes in (("old", 121), ("young", 90)):
        await execute(
            database,
            "insert into telemetry.budget (subject, class, changed_at)"
            " values ($1, 'query', clock_timestamp() - make_interval(mins => $2))",
            name,
            minutes,
        )
    done = await a_housekeeping(database).run_once(SystemClock().now_us())

    assert done["budgets"] == 1


async def test_nothing_expires_under_a_lost_lease(database: Database) -> None:
    lease = Lease(database, "housekeeping", holder=uuid4(), clock=SystemClock())
    await lease.take()
    grant = lease.grant
    assert grant is not None
    await execute(database, "update telemetry.consumer set lease_epoch = lease_epoch + 1")
    await execute(
        database,
        "insert into telemetry.ingest_batch (scope, batch_id, payload_hash, answer, created_at)"
        " values ('s', 'b', 'h', 'a', '2020-01-01')",
    )

    with pytest.raises(LeaseLost):
        await Retention(database).run_once(SystemClock().now_us(), grant)

    async with database.connection("query") as connection:
        assert await connection.fetchval("select count(*) from telemetry.ingest_batch") == 1


NOW_US = 1_763_640_000_000_000
AGES = st.integers(-2 * HOUR_US, 12 * DAY_US) | st.sampled_from(
    [days * DAY_US + off for days in (1, 2, 5, 10) for off in (-1, 0, 1, HOUR_US)]
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    retention_days=st.lists(st.sampled_from([None, 1, 2, 5, 10]), min_size=2, max_size=4),
    ages_us=st.lists(AGES, min_size=1, max_size=12, unique=True),
    now_us=st.integers(NOW_US, NOW_US + DAY_US) | st.just(NOW_US // DAY_US * DAY_US),
)
async def test_what_is_younger_than_its_retention_stays_and_the_rest_goes(
    database: Database, retention_days: list[int | None], ages_us: list[int], now_us: int
) -> None:
    await execute(
        database,
        "truncate telemetry.chunk, telemetry.rollup, telemetry.metric_retention",
    )
    wanted = [("d", f"m{at}", Kind.NUMERIC) for at in range(len(retention_days))]
    series = {r.metric_name: r.series_id for r in await SeriesStore(database).register(wanted)}
    cuts: dict[int, int] = {}
    for at, days in enumerate(retention_days):
        cuts[series[f"m{at}"]] = now_us - (90 if days is None else days) * DAY_US
        if days is not None:
            await execute(
                database, "insert into telemetry.metric_retention values ($1, $2)", f"m{at}", days
            )
    times = sorted(now_us - age for age in ages_us)
    for series_id in cuts:
        await execute(
            database,
            "insert into telemetry.chunk (series_id, start_us, end_us, points, tick_us, numbers)"
            " select $1, t - 50000000, t, 1, 1, '{1}' from unnest($2::int8[]) t",
            series_id,
            times,
        )
        await execute(
            database,
            "insert into telemetry.rollup (series_id, hour, points, numbers)"
            " select distinct $1::int4, (t / 3600000000)::int4, 1, 0 from unnest($2::int8[]) t",
            series_id,
            times,
        )
    housekeeping = a_housekeeping(database)
    await execute(database, "update telemetry.consumer set holder = null")

    await housekeeping.run_once(now_us)

    ids = np.array(sorted(cuts), np.int32)
    async with database.connection("query") as connection:
        rows = await connection.fetch("select series_id, end_us from telemetry.chunk order by 1, 2")
    rollups = await read_rollups(database, ids, start_hour=0, end_hour=2**30)
    kept = [(row["series_id"], row["end_us"]) for row in rows]
    hours = list(zip(rollups.series_ids.tolist(), rollups.hours.tolist(), strict=True))
    # A chunk stays while its newest point is young enough.
    assert kept == [(s, t) for s in ids.tolist() for t in times if t >= cuts[s]]
    assert hours == [
        (s, hour)
        for s in ids.tolist()
        for hour in sorted({t // HOUR_US for t in times})
        if (hour + 1) * HOUR_US > cuts[s]
    ]


async def test_only_one_process_keeps_house_but_all_make_partitions(database: Database) -> None:
    now_us = SystemClock().now_us()
    first, second = a_housekeeping(database), a_housekeeping(database)
    await first.run_once(now_us)

    done = await second.run_once(now_us + HOUR_US)

    assert done == {"partitions_made": 1}


async def test_a_lease_is_not_used_close_to_its_end(database: Database) -> None:
    clock = ManualClock(NOW_US)
    lease = Lease(database, "housekeeping", holder=uuid4(), clock=clock)
    await lease.take()

    clock.advance_s(timedelta(seconds=7.9).total_seconds())
    before = lease.grant
    clock.advance_s(0.2)

    assert before is not None
    assert lease.grant is None
