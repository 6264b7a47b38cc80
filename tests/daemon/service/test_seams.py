"""Reads are the same whichever of head, chunks and rollups hold the points."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from history_builder import NOON_US, READER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.clock import ManualClock
from daemon.domain.aggregates import Aggregation, aggregate
from daemon.domain.block import Block, pack
from daemon.domain.kinds import Kind
from daemon.domain.merge import merge
from daemon.domain.page_cursors import parse_page_cursor
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.service.changes import ChangesFilter
from daemon.service.compaction import Compaction
from daemon.service.export import Exports
from daemon.service.history import History
from daemon.service.reads import make_reads
from daemon.service.series import PointQuery, PooledQuery, Series
from daemon.service.tail import Tail
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.workers.compactor import Compactor
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio
S = 1_000_000
HOUR_US = 3600 * S
START_US = NOON_US - 30 * HOUR_US
NAMES = [("a", "m", Kind.NUMERIC), ("b", "m", Kind.NUMERIC), ("c", "m", Kind.BOOLEAN)]
Rows = list[tuple[int, int, Any]]

# Few distinct times, so that corrections and full hours come often.
times = st.one_of(
    st.integers(0, 2).map(lambda n: START_US + n * 10 * HOUR_US),
    st.integers(0, 29).map(lambda h: START_US + h * HOUR_US),
    st.integers(0, 60).map(lambda n: START_US + n * 1799 * S),
    st.integers(0, 30 * 3600 - 1).map(lambda s: START_US + s * S),
)
values = st.one_of(st.floats(-1e6, 1e6), st.integers(-9, 9).map(float), st.just("text"))
blocks = st.lists(st.tuples(st.integers(0, 2), times, values), min_size=1, max_size=30)
turns = st.tuples(blocks, st.sampled_from([[], ["compact"]]))
steps = st.lists(turns, min_size=1, max_size=5).map(
    lambda found: [step for block, then in found for step in (block, *then)]
)


class Stage:
    """One process with its compactor, and the points as a dict beside."""

    def __init__(self, database: Database) -> None:
        clock = ManualClock(NOON_US)
        writer = uuid4()
        self.database = database
        self.tail = Tail(
            JournalStore(database, writer=writer),
            SeriesStore(database),
            Registry(),
            Head(),
            Latest(),
        )
        self.clock = clock
        self.reads = make_reads(database, tail=self.tail, clock=clock)
        self.compactor = Compactor(
            Compaction(database, clock=clock),
            Lease(database, "compactor", holder=writer, clock=clock),
            points=1,
            age=timedelta(),
            on_compacted=self.tail.head.trim,
        )
        self.model: dict[tuple[int, int], Any] = {}
        self.ids: list[int] = []

    async def begin(self) -> None:
        async with self.database.connection("control") as connection:
            await connection.execute(
                "truncate telemetry.journal, telemetry.chunk, telemetry.rollup, telemetry.latest"
            )
            await connection.execute(
                "update telemetry.consumer set lease_expires_at = '-infinity', position ="
                " coalesce((select last_value from telemetry.journal_seq where is_called), 0)"
            )
        rows = await self.tail.series.register(NAMES)
        by_name = {row.device_id: row.series_id for row in rows}
        self.ids = [by_name[device] for device, _, _ in NAMES]
        await self.tail.load()

    async def write(self, rows: Rows) -> None:
        rows = [(s, t, abs(v) % 2 // 1 if s == 2 and v != "text" else v) for s, t, v in rows]
        block = Block(
            np.array([self.ids[s] for s, _, _ in rows], np.int32),
            np.array([t for _, t, _ in rows], np.int64),
            np.array([math.nan if v == "text" else v for _, _, v in rows]),
            objects={at: v for at, (_, _, v) in enumerate(rows) if v == "text"},
        )
        version = self.tail.registry.version
        await self.tail.journal.append(pack(block), points=len(rows), catalog_version=version)
        await self.tail.turn()
        self.model.update({(s, t): v for s, t, v in rows})

    async def play(self, script: list[Any]) -> None:
        await self.begin()
        for step in script:
            if step == "compact":
                await self.compactor.run_once(force=True)
            else:
                await self.write(step)

    @property
    def history(self) -> History:
        return History(self.database, self.tail.registry, self.tail.head, self.clock)

    def exports(self, group_points: int) -> Exports:
        return Exports(
            self.history,
            changes=self.reads.changes,
            journal=self.tail.journal,
            clock=self.clock,
            group_points=group_points,
        )

    def rows_of(self, block: Block) -> list[tuple[int, int, Any]]:
        """(time, series as the model numbers it, value) of each row."""
        at_id = {series_id: s for s, series_id in enumerate(self.ids)}
        columns = (block.times_us.tolist(), block.series_ids.tolist(), block.numbers.tolist())
        return [
            (t, at_id[i], block.objects.get(row, v))
            for row, (t, i, v) in enumerate(zip(*columns, strict=True))
        ]

    def expected(self, start_us: int, end_us: int) -> Block:
        """What the dict holds, sorted by series, then time."""
        rows = [(s, t, v) for (s, t), v in self.model.items() if start_us <= t < end_us]
        numbers = [math.nan if v == "text" else v for _, _, v in rows]
        return merge(
            [
                Block(
                    np.array([s for s, _, _ in rows], np.int32),
                    np.array([t for _, t, _ in rows], np.int64),
                    np.array(numbers, np.float64),
                )
            ]
        )


checked = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ranges = st.sampled_from(
    [
        (START_US, NOON_US),
        (START_US + 17 * S, NOON_US - 1799 * S),
        (START_US + HOUR_US, START_US + 26 * HOUR_US),
        (START_US + 40 * 60 * S, START_US + 50 * 60 * S),
        (0, NOON_US + HOUR_US),
    ]
)


@checked
@given(steps, ranges, st.sampled_from([2, 7, 10_000]))
async def test_points_are_the_same_wherever_they_lie(
    database: Database, script: list[Any], span: tuple[int, int], limit: int
) -> None:
    stage = Stage(database)
    await stage.play(script)

    found: list[tuple[int, int, Any]] = []
    cursor = None
    while True:
        query = PointQuery(("m",), *span, limit=limit, cursor=cursor)
        page = await stage.reads.series.query(READER, query)
        found += stage.rows_of(page.block)
        if page.next_cursor is None:
            break
        cursor = parse_page_cursor(page.next_cursor)

    assert found == sorted((t, s, v) for (s, t), v in stage.model.items() if span[0] <= t < span[1])


@checked
@given(steps, ranges, st.sampled_from(list(Aggregation)), st.sampled_from([None, 600, 3600, 7200]))
async def test_buckets_are_the_same_wherever_the_points_lie(
    database: Database,
    script: list[Any],
    span: tuple[int, int],
    aggregation: Aggregation,
    interval_s: int | None,
) -> None:
    stage = Stage(database)
    await stage.play(script)

    page = await stage.reads.series.query(
        READER, PointQuery(("m",), *span, aggregation=aggregation, interval_s=interval_s)
    )
    pooled = await stage.reads.series.pooled(
        READER, PooledQuery("m", aggregation, interval_s or 86_400, *span)
    )

    wanted = stage.expected(*span)
    step_us = (interval_s or 10**9) * S
    at_id = {series_id: s for s, series_id in enumerate(stage.ids)}
    rows = zip(page.block.series_ids, page.block.times_us, page.block.numbers, strict=True)
    starts = [0 if interval_s is None else int(t) // step_us for t in page.block.times_us]
    found = {(at_id[int(i)], b): v for (i, _, v), b in zip(rows, starts, strict=True)}
    cells = wanted.times_us // step_us if interval_s else np.zeros(len(wanted), np.int64)
    assert found == pytest.approx(as_dict(wanted, cells, aggregation), rel=1e-9, abs=1e-6)
    days = wanted.times_us // ((interval_s or 86_400) * S)
    in_all = as_dict(wanted, days, aggregation, is_pooled=True)
    assert {
        (-1, int(t) // ((interval_s or 86_400) * S)): v
        for t, v in zip(pooled.starts_us, pooled.aggregated.values, strict=True)
    } == pytest.approx(in_all, rel=1e-9, abs=1e-6)


@checked
@given(
    steps,
    ranges,
    st.sampled_from(list(Aggregation)),
    st.sampled_from([3600, 7200]),
    st.sampled_from([1, 2, 7, 40]),
)
async def test_pages_of_buckets_are_cut_from_the_whole(
    database: Database,
    script: list[Any],
    span: tuple[int, int],
    aggregation: Aggregation,
    interval_s: int,
    limit: int,
) -> None:
    stage = Stage(database)
    await stage.play(script)
    query = PointQuery(("m",), *span, aggregation=aggregation, interval_s=interval_s)

    whole = await stage.reads.series.query(READER, query)
    pages = Series(stage.history, part_rows=1)
    found: list[tuple[int, int, Any]] = []
    cursor = None
    while True:
        page = await pages.query(READER, replace(query, limit=limit, cursor=cursor))
        assert 0 < len(page.block) <= limit or not len(whole.block)
        found += stage.rows_of(page.block)
        if page.next_cursor is None:
            break
        cursor = parse_page_cursor(page.next_cursor)

    assert found == stage.rows_of(whole.block)


async def test_hours_beyond_a_retention_are_not_shown_before_housekeeping(
    database: Database,
) -> None:
    stage = Stage(database)
    points = [(s, START_US + h * HOUR_US + m * 60 * S, 1.0)
              for s in (0, 1) for h in range(30) for m in (10, 50)]  # fmt: skip
    await stage.play([points, "compact"])
    kept_us = 9 * HOUR_US + 30 * 60 * S
    stage.tail.registry.retention_us[stage.ids[0]] = kept_us
    query = PointQuery(("m",), START_US, NOON_US, aggregation=Aggregation.SUM, interval_s=3600)

    for series in (stage.reads.series, Series(stage.history, part_rows=1)):
        page = await series.query(READER, replace(query, limit=100))
        short = [(t, v) for t, s, v in stage.rows_of(page.block) if s == 0]

        assert short == [
            (NOON_US - hours * HOUR_US, 1.0 if hours == 10 else 2.0) for hours in range(10, 0, -1)
        ]
        assert len(page.block) == 10 + 30


@checked
@given(steps, st.sampled_from([1, 5, 20, 200_000]))
async def test_an_export_holds_every_point_once(
    database: Database, script: list[Any], group_points: int
) -> None:
    stage = Stage(database)
    await stage.play(script)

    chunks = [
        chunk
        async for chunk in stage.exports(group_points).of_range(
            READER, ChangesFilter(), start_us=START_US, end_us=NOON_US
        )
    ]

    lines = b"".join(chunks).decode().split("\r\n")[:-1]
    keys = [(line.split(",")[1], line.split(",")[0]) for line in lines]
    assert keys == sorted(set(keys))
    assert len(keys) == len(stage.model)


async def test_a_correction_stands_before_and_after_it_is_compacted(database: Database) -> None:
    stage = Stage(database)
    at_us = START_US + HOUR_US
    query = PointQuery(("m",), START_US, NOON_US)
    total = PointQuery(("m",), START_US, NOON_US, aggregation=Aggregation.SUM, interval_s=3600)
    found = []

    await stage.play([[(0, at_us, 1.0), (0, at_us + S, 10.0)], "compact", [(0, at_us, 2.0)]])
    for _ in range(2):
        raw = await stage.reads.series.query(READER, query)
        hour = await stage.reads.series.query(READER, total)
        found.append((raw.block.numbers.tolist(), hour.block.numbers.tolist()))
        await stage.compactor.run_once(force=True)

    assert found == [([2.0, 10.0], [12.0])] * 2


def as_dict(
    block: Block, cells: Any, aggregation: Aggregation, *, is_pooled: bool = False
) -> dict[tuple[int, int], float]:
    if not len(block):
        return {}
    found = aggregate(block, cells, aggregation=aggregation, is_pooled=is_pooled)
    keys = zip(found.series_ids.tolist(), found.buckets.tolist(), strict=True)
    return dict(zip(keys, found.values.tolist(), strict=True))
