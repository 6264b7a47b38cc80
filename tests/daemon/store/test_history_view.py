"""History as plain SQL sees it equals what was written, on PostgreSQL 15 and 18."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import numpy as np
import pytest
from databases import fresh_database

from daemon.clock import SystemClock
from daemon.domain.block import Block, pack
from daemon.domain.kinds import Kind
from daemon.service.compaction import Compaction
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIDNIGHT = 1_763_596_800_000_000
Row = tuple[datetime, str, float | None, Any, str | None, Any]
# A value, and its context.
Point = tuple[Any, bytes | None]

UNIT = b'{"unit":"c"}'
TAGS = b'{"unit":"f","tags":{"room":"a"},"metadata":{"n":[1,2]}}'

SERIES: dict[str, tuple[Kind, dict[int, Point]]] = {
    "regular two decimals": (
        Kind.NUMERIC,
        {i * 10_000_000: (round(20 + i * 0.37 - (i % 7), 2), None) for i in range(700)},
    ),
    "irregular doubles": (
        Kind.NUMERIC,
        {i * i * 1_001: (0.1 * i + 1 / 3, None) for i in range(50)},
    ),
    "large steps": (Kind.NUMERIC, {i: (float(i * 70_001 % 4_000_000), None) for i in range(40)}),
    "days": (Kind.NUMERIC, {i * 3_600_000_000: (float(i), None) for i in range(60)}),
    "one context": (Kind.NUMERIC, {i: (float(i), UNIT) for i in range(5)}),
    "several contexts": (
        Kind.NUMERIC,
        {i: (i / 2, [UNIT, TAGS, None][i % 3]) for i in range(9)},
    ),
    "flags": (Kind.BOOLEAN, {i: (float(i % 2), TAGS) for i in range(6)}),
    "texts": (Kind.STRING, {i: (f'a "{i}" \n ü', UNIT) for i in range(6)}),
    "mixed": (
        Kind.NUMERIC,
        {0: (1.5, None), 1: ("text", UNIT), 2: (True, None), 3: ({"lat": 1, "lon": 2.5}, None)},
    ),
    "places": (Kind.GEOLOCATION, {i: ({"lat": 50 + i, "lon": 8.5}, None) for i in range(3)}),
    "one point": (Kind.NUMERIC, {123_457: (-273.15, None)}),
}


@pytest.fixture(params=["postgres", "postgres_15"])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    opened = Database(await fresh_database(request.getfixturevalue(request.param)))
    await opened.open()
    yield opened
    await opened.close()


def a_block(series_id: int, points: dict[int, Point]) -> Block:
    values = [value for value, _ in points.values()]
    contexts = list(dict.fromkeys(c for _, c in points.values() if c is not None))
    return Block(
        np.full(len(points), series_id, np.int32),
        np.array([MIDNIGHT + offset for offset in points], np.int64),
        np.array([v if isinstance(v, float) else np.nan for v in values]),
        np.array([-1 if c is None else contexts.index(c) for _, c in points.values()], np.int32),
        contexts,
        {at: v for at, v in enumerate(values) if not isinstance(v, float)},
    )


async def write_history(database: Database) -> None:
    """All series, in two slices each, then merged."""
    wanted = [("d", name, kind) for name, (kind, _) in SERIES.items()]
    series = {r.metric_name: r.series_id for r in await SeriesStore(database).register(wanted)}
    journal = JournalStore(database, writer=uuid4())
    clock = SystemClock()
    lease = Lease(database, "compactor", holder=uuid4(), clock=clock)
    compaction = Compaction(database, clock=clock)
    await compaction.begin(await lease.take() or 0)
    grant = lease.grant
    assert grant is not None
    for half in (0, 1):
        for name, (_, points) in SERIES.items():
            cut = (len(points) + 1) // 2
            part = dict(list(points.items())[half * cut : half * cut + cut])
            if part:
                body = pack(a_block(series[name], part))
                await journal.append(body, points=len(part), catalog_version=1)
        await compaction.compact(grant)


def expected(name: str) -> list[Row]:
    kind, points = SERIES[name]
    rows: list[Row] = []
    for offset, (value, context) in sorted(points.items()):
        known = {} if context is None else msgspec.json.decode(context)
        number = value if isinstance(value, float) and kind != Kind.BOOLEAN else None
        shown = value == 1.0 if kind == Kind.BOOLEAN else value
        time = EPOCH + timedelta(microseconds=MIDNIGHT + offset)
        rows.append((time, name, number, shown, known.get("unit"), known.get("tags")))
    return rows


def as_row(row: asyncpg.Record, name: str) -> Row:
    tags = None if row["tags"] is None else msgspec.json.decode(row["tags"])
    value = msgspec.json.decode(row["value"])
    return (row["time"], name, row["number"], value, row["unit"], tags)


async def fetch(database: Database, sql: str, *arguments: object) -> list[asyncpg.Record]:
    async with database.connection("query") as connection:
        return await connection.fetch(sql, *arguments)


async def test_the_view_and_the_function_show_every_point_as_it_was_written(
    database: Database,
) -> None:
    await write_history(database)

    for name in SERIES:
        view = await fetch(
            database,
            "select time, number, value, unit, tags, metadata, device_id from telemetry.point"
            " where metric_name = $1 order by time",
            name,
        )
        function = await fetch(
            database,
            "select time, number, value, unit, tags"
            " from telemetry.points('d', $1, '2025-01-01', '2026-01-01')",
            name,
        )

        assert [as_row(row, name) for row in view] == expected(name)
        assert [as_row(row, name) for row in function] == expected(name)


async def test_the_function_is_half_open_and_exact_to_the_microsecond(database: Database) -> None:
    await write_history(database)
    rows = expected("days")

    found = await fetch(
        database,
        "select time from telemetry.points('d', 'days', $1, $2)",
        rows[20][0],
        rows[30][0],
    )
    before = await fetch(
        database,
        "select time from telemetry.points('d', 'days', $1, $2)",
        rows[20][0] + timedelta(microseconds=1),
        rows[21][0] + timedelta(microseconds=1),
    )

    assert [row["time"] for row in found] == [row[0] for row in rows[20:30]]
    assert [row["time"] for row in before] == [rows[21][0]]


async def test_the_function_reads_only_the_chunks_of_the_range(database: Database) -> None:
    await write_history(database)

    plan = await fetch(
        database,
        "explain (costs off)"
        " select * from telemetry.points('d', 'days', '2025-11-21', '2025-11-22')",
    )

    text = "\n".join(row[0] for row in plan)
    assert "Index Cond: ((c" in text or "Index Cond: ((series_id = s.series_id)" in text, text
    assert "start_us" in text


@pytest.mark.parametrize("us", [0, 1, 999_999, -1, 1_763_596_800_123_457, 253_402_300_799_999_999])
async def test_microseconds_become_timestamps_exactly(database: Database, us: int) -> None:
    (row,) = await fetch(
        database,
        "select telemetry.from_us($1) as at, telemetry.to_us(telemetry.from_us($1)) as us",
        us,
    )

    assert row["at"] == EPOCH + timedelta(microseconds=us)
    assert row["us"] == us
