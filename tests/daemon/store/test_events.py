"""Events against real PostgreSQL: one order with the blocks, one event for what is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from uuid import uuid4

import asyncpg
import orjson
import pytest
from event_builder import NOON, an_event

from daemon.domain.errors import OutcomeUnknown
from daemon.domain.events import event_json
from daemon.store.events import EventStore, append
from daemon.store.journal import SQL, JournalRow, JournalStore
from daemon.store.pool import Database, PoolLimits

pytestmark = pytest.mark.anyio


async def test_blocks_and_events_read_back_in_one_order(database: Database) -> None:
    journal, events = JournalStore(database, writer=uuid4()), EventStore(database)
    first = await journal.append(b"one", points=1, catalog_version=1)
    told = await events.insert(an_event(subject="pump_7", data={"b": 1, "a": [None]}))
    second = await journal.append(b"two", points=2, catalog_version=1)

    found = await journal.read_entries(0, limit=10)
    rest = await journal.read_entries(first, limit=1)

    assert [entry.seq for entry in found] == [first, told.seq, second]
    assert isinstance(found[0], JournalRow)
    assert found[0].body == b"one"
    assert found[1] == told
    assert rest == [told]
    assert (first + 1, told.seq + 1) == (told.seq, second)


async def test_an_event_shows_what_was_told(database: Database) -> None:
    new = an_event("anomaly", "too hot", severity="warning", subject="p", data={"z": 1.5})

    told = await EventStore(database).insert(new)

    assert orjson.loads(event_json(told)) == {
        "event_id": new.event_id,
        "type": "anomaly",
        "severity": "warning",
        "timestamp": "2025-12-18T12:00:00Z",
        "subject": "p",
        "message": "too hot",
        "data": {"z": 1.5},
    }
    assert told.occurred_at == NOON
    assert await EventStore(database).find(new.event_id) == told


async def test_an_event_of_a_change_that_is_undone_was_never_told(database: Database) -> None:
    async def change() -> None:
        async with database.transaction("control") as connection:
            await append(connection, an_event())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()

    assert await EventStore(database).newest(limit=10) == []


async def test_what_is_told_twice_is_one_event(database: Database) -> None:
    events = EventStore(database)

    first = await events.insert(an_event(message="first", dedup_id="d1"))
    again = await events.insert(an_event(message="again", dedup_id="d1"))

    assert again == first
    assert await events.newest(limit=10) == [first]


async def test_a_follower_never_meets_a_late_smaller_number(database: Database, dsn: str) -> None:
    journal = JournalStore(database, writer=uuid4())
    seen: list[int] = []

    async def write_blocks() -> None:
        own = Database(dsn)
        await own.open()
        for _ in range(40):
            await JournalStore(own, writer=uuid4()).append(b"x", points=1, catalog_version=1)
        await own.close()

    async def write_events() -> None:
        for _ in range(40):
            async with database.transaction("control") as connection:
                await append(connection, an_event())

    async def follow() -> None:
        while len(seen) < 160:
            rows = await journal.read_entries(seen[-1] if seen else 0, limit=50)
            seen.extend(r.seq for r in rows)

    writers = [write() for write in (write_blocks, write_events) for _ in range(2)]
    await asyncio.wait_for(asyncio.gather(follow(), *writers), 120)

    assert seen == [r.seq for r in await journal.read_entries(0, limit=1000)]


async def test_who_is_stopped_before_its_commit_holds_up_the_others_for_a_while_only(
    database: Database, dsn: str
) -> None:
    stopped = Database(dsn, limits=PoolLimits(idle_in_transaction_s=0.5))
    await stopped.open()
    journal = JournalStore(database, writer=uuid4())
    is_in_the_middle, may_go_on = asyncio.Event(), asyncio.Event()

    async def stop_in_the_middle() -> None:
        async with stopped.transaction("control") as connection:
            await append(connection, an_event())
            is_in_the_middle.set()
            await may_go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raises(OutcomeUnknown, stop_in_the_middle()))
        await is_in_the_middle.wait()
        # It ends although the other one does not.
        await journal.append(b"x", points=1, catalog_version=1)
        may_go_on.set()
    await stopped.close()

    assert await EventStore(database).newest(limit=10) == []


async def raises(error: type[Exception], wanted: Awaitable[None]) -> None:
    with pytest.raises(error):
        await wanted


async def test_newest_and_between_filter_by_type_and_severity(database: Database) -> None:
    events = EventStore(database)
    for at in range(6):
        kind, severity = ("even", "info") if at % 2 == 0 else ("odd", "error")
        await events.insert(an_event(kind, str(at), severity=severity))

    newest = await events.newest(types=["even"], limit=2)
    errors = await events.between(0, severities=["error"], limit=10)
    upto = await events.between(errors[0].seq, upto=errors[1].seq, limit=10)

    assert [e.message for e in newest] == ["4", "2"]
    assert [e.message for e in errors] == ["1", "3", "5"]
    assert [e.message for e in upto] == ["2", "3"]


async def test_following_reads_what_is_behind_the_position_only(
    database: Database, dsn: str
) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(MANY)
        plan = await connection.fetch("explain (analyze, costs off) " + inlined())
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)

    assert "Index Scan using event_pkey" in text
    assert "Rows Removed by Filter" not in text


MANY = """
select telemetry.journal_make_partitions(clock_timestamp() - interval '1 hour', 50);
insert into telemetry.journal
select g, clock_timestamp(), gen_random_uuid(), 1, 'x' from generate_series(1, 40000, 2) g;
insert into telemetry.event
  (seq, event_id, type, severity, message, occurred_at, created_by, dedup_id)
select g, 'evt_' || g, 't', 'info', '', now(), '', g from generate_series(2, 40000, 2) g;
analyze telemetry.journal;
analyze telemetry.event;
"""


def inlined() -> str:
    """The statement with its parameters as a follower gives them."""
    statement = SQL["read_entries"]
    given = {"$1": "39000", "$2": "500", "$3": f"'{uuid4()}'", "$4": "true"}
    for name, value in given.items():
        statement = statement.replace(name, value)
    return statement
