"""The schema moves on whole steps only, one runner at a time, and never backwards."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from daemons import start_daemon, started
from databases import fresh_database, schema_of
from servers import PostgresServer

from daemon.domain.errors import DomainError
from daemon.faults import Point
from daemon.store.migrations import (
    Migration,
    MigrationChanged,
    SchemaNewer,
    known_migrations,
    migrate,
)

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
SCHEMA = Path(__file__).parents[2] / "sql" / "schema.sql"
KNOWN = known_migrations()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def empty(postgres: PostgresServer) -> str:
    """The DSN of an empty database."""
    name = "empty"

    async def make() -> None:
        async with connected(postgres.dsn()) as admin:
            await admin.execute(f"drop database if exists {name} with (force)")
            await admin.execute(f"create database {name}")

    asyncio.run(make())
    return postgres.dsn(name)


def statements_of(migration: Migration) -> list[str]:
    """The statements of a migration; those in function bodies stay whole."""
    pieces = re.split(r"(\$\$.*?\$\$)", migration.sql, flags=re.DOTALL)
    # Comments may hold semicolons.
    code = "".join(
        piece if at % 2 else re.sub(r"--[^\n]*", "", piece).replace(";", ";\0")
        for at, piece in enumerate(pieces)
    )
    return [statement for statement in code.split("\0") if statement.strip()]


def dying_after(migration: Migration, count: int) -> Migration:
    """The same, but the connection of its runner dies after so many statements."""
    some = statements_of(migration)[:count]
    return replace(
        migration, sql="".join([*some, "select pg_terminate_backend(pg_backend_pid());"])
    )


async def test_schema_sql_is_what_the_migrations_make(empty: str, postgres: PostgresServer) -> None:
    async with connected(empty) as connection:
        await connection.execute(SCHEMA.read_text())

    assert schema_of(empty) == schema_of(await fresh_database(postgres))


async def test_the_chain_is_applied_in_steps_and_once(empty: str) -> None:
    for upto in range(1, len(KNOWN) + 1):
        done = await migrate(empty, known=KNOWN[:upto])
        assert [m.number for m in done] == [KNOWN[upto - 1].number]

    assert await migrate(empty) == []


async def test_a_runner_killed_after_any_statement_leaves_the_old_schema_or_the_new(
    empty: str,
) -> None:
    count = 0
    for at, migration in enumerate(KNOWN):
        await migrate(empty, known=KNOWN[:at])
        old = await asyncio.to_thread(schema_of, empty)
        for stop in range(len(statements_of(migration)) + 1):
            with pytest.raises((DomainError, asyncpg.PostgresError)):
                await migrate(empty, known=[*KNOWN[:at], dying_after(migration, stop)])
            count += 1
        assert await asyncio.to_thread(schema_of, empty) == old
    await migrate(empty)

    assert count > 35
    async with connected(empty) as connection:
        assert await connection.fetchval("select count(*) from telemetry.migration") == len(KNOWN)


@pytest.mark.parametrize(("kept", "floor"), [([5, 6], 4), ([], 6)])
async def test_cursors_from_before_there_were_events_stay_whole(
    empty: str, kept: list[int], floor: int
) -> None:
    """Numbers up to 6 were given out; the blocks kept say what is gone."""
    await migrate(empty, known=[m for m in KNOWN if m.number < 6])
    async with connected(empty) as connection:
        await connection.execute(
            "select telemetry.journal_make_partitions(clock_timestamp(), 2);"
            "select setval('telemetry.journal_seq', 6)"
        )
        for seq in kept:
            await connection.execute(
                "insert into telemetry.journal"
                " values ($1, clock_timestamp(), gen_random_uuid(), 1, 'x')",
                seq,
            )
    await migrate(empty)

    async with connected(empty) as connection:
        found = await connection.fetchval("select journal_floor from telemetry.installation")
    assert found == floor


async def test_the_check_notices_migrations_that_are_not_whole_steps(empty: str) -> None:
    """Were each statement a transaction of its own, a kill would leave half of them."""
    async with connected(empty) as connection:
        before = await asyncio.to_thread(schema_of, empty)
        for statement in statements_of(KNOWN[0])[:3]:
            await connection.execute(statement)

    assert await asyncio.to_thread(schema_of, empty) != before


def telemetryd_migrate(dsn: str, fault: str = "") -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / "telemetryd"
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    environment |= {"TELEMETRY_DATABASE__URL": dsn, "TELEMETRY_FAULT": fault}
    return subprocess.Popen(
        [program, "migrate"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(
    ("point", "applied"), [(Point.MIGRATION_BEFORE_COMMIT, 1), (Point.MIGRATION_AFTER_COMMIT, 2)]
)
async def test_the_next_runner_goes_on_where_a_killed_one_stopped(
    empty: str, point: Point, applied: int
) -> None:
    killed = telemetryd_migrate(empty, fault=f"{point}:kill:2")
    await asyncio.to_thread(killed.communicate)
    async with connected(empty) as connection:
        found = await connection.fetchval("select count(*) from telemetry.migration")
    again = telemetryd_migrate(empty)
    out, _ = await asyncio.to_thread(again.communicate)

    assert (killed.returncode, found) == (-9, applied)
    assert (again.returncode, len(out.splitlines())) == (0, len(KNOWN) - applied)


async def test_of_many_runners_at_once_each_step_is_done_by_one(empty: str) -> None:
    runners = [telemetryd_migrate(empty) for _ in range(4)]
    outs = [(await asyncio.to_thread(runner.communicate))[0] for runner in runners]

    assert [runner.returncode for runner in runners] == [0] * 4
    assert sum(len(out.splitlines()) for out in outs) == len(KNOWN)


async def test_a_migration_that_was_edited_after_use_is_refused(empty: str) -> None:
    await migrate(empty)
    edited = [*KNOWN[:-1], replace(KNOWN[-1], sql=KNOWN[-1].sql + "\n-- harmless")]

    with pytest.raises(MigrationChanged, match=r"0\d{3} was edited"):
        await migrate(empty, known=edited)


async def test_a_newer_schema_is_refused_with_a_clear_message(empty: str) -> None:
    future = Migration(KNOWN[-1].number + 1, "future", "create table telemetry.future ()")
    await migrate(empty, known=[*KNOWN, future])
    with pytest.raises(SchemaNewer):
        await migrate(empty)
    old = telemetryd_migrate(empty)
    _, told = await asyncio.to_thread(old.communicate)

    assert old.returncode == 78
    assert f"the database is at schema {future.number}" in told.decode()
    assert "Traceback" not in told.decode()


async def test_two_daemons_start_on_an_empty_database(empty: str) -> None:
    first, second = await asyncio.gather(
        *(asyncio.to_thread(start_daemon, empty, wait=False) for _ in range(2))
    )
    try:
        served = await asyncio.gather(
            *(asyncio.to_thread(d.wait_for, "serving") for d in (first, second))
        )
        codes = [await asyncio.to_thread(d.stop) for d in (first, second)]
    finally:
        first.kill()
        second.kill()
    async with connected(empty) as connection:
        keys = await connection.fetchval("select count(*) from telemetry.api_key")

    assert len(served) == 2
    assert codes == [0, 0]
    assert keys == 1


async def test_a_daemon_that_comes_back_finds_everything(empty: str) -> None:
    first = await started(empty)
    first.cli("write", "d1", "m=1.5")
    await asyncio.to_thread(first.stop)
    second = await started(empty, home=first.home, key=first.key)

    with second.http() as http:
        found = http.get("/devices/d1/metrics/m/latest").json()

    assert found["value"] == 1.5
