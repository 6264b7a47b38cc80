"""Whatever is written in whatever order, history equals a dict after any compaction and merge."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.clock import ManualClock
from daemon.domain.block import Block, pack
from daemon.domain.chunk import DAY_US
from daemon.domain.kinds import Kind
from daemon.domain.rollup import roll_up
from daemon.service.compaction import Compaction
from daemon.store.chunks import iterate_points, read_points
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.rollups import read_rollups
from daemon.store.series import SeriesStore
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio

MIDNIGHT = 1_763_596_800_000_000
SERIES = 3

# Clustered, so that keys repeat, hours fill up, and days are crossed.
offsets = (
    st.integers(0, 30).map(lambda n: n * 60_000_000)
    | st.integers(-3, 3).map(lambda n: DAY_US + n * 1_000_000)
    | st.integers(0, 2 * DAY_US)
)
numbers = st.integers(-500, 500).map(lambda n: n / 100) | st.floats(-1e9, 1e9)
values = numbers | st.sampled_from(["on", "off", True])
points = st.tuples(st.integers(0, SERIES - 1), offsets, values)
steps = st.lists(
    st.lists(points, min_size=1, max_size=12)
    | st.sampled_from(["compact", "merge", "merge all", "restart"]),
    min_size=2,
    max_size=14,
)


def a_block(ids: list[int], rows: list[tuple[int, int, object]]) -> Block:
    return Block(
        np.array([ids[row[0]] for row in rows], np.int32),
        np.array([MIDNIGHT + row[1] for row in rows], np.int64),
        np.array([row[2] if isinstance(row[2], float) else np.nan for row in rows]),
        objects={at: row[2] for at, row in enumerate(rows) if not isinstance(row[2], float)},
    )


def as_model(blocks: list[Block]) -> list[tuple[int, int, object]]:
    rows: list[tuple[int, int, object]] = []
    for block in blocks:
        numbers = block.numbers.tolist()
        for at, (s, t) in enumerate(
            zip(block.series_ids.tolist(), block.times_us.tolist(), strict=True)
        ):
            rows.append((s, t, block.objects.get(at, numbers[at])))
    return rows


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps, slice_points=st.sampled_from([1, 5, 500_000]), pieces_max=st.integers(1, 3))
async def test_history_is_a_dict_of_what_was_written(
    database: Database, steps: list[object], slice_points: int, pieces_max: int
) -> None:
    ids = await a_clean_start(database)
    journal = JournalStore(database, writer=uuid4())
    # Midnight of the second day has passed, so that one day is over and one goes on.
    clock = ManualClock(MIDNIGHT + DAY_US + 3_600_000_000)
    lease = Lease(database, "compactor", holder=uuid4(), clock=clock)
    model: dict[tuple[int, int], object] = {}

    async def begin() -> Compaction:
        compaction = Compaction(database, clock=clock, slice_points=slice_points)
        await compaction.begin(await lease.take() or 0)
        return compaction

    compaction = await begin()
    for step in [*steps, "compact"]:
        grant = lease.grant
        assert grant is not None
        if isinstance(step, list):
            block = a_block(ids, step)
            await journal.append(pack(block), points=len(block), catalog_version=1)
            model.update({(s, t): v for s, t, v in as_model([block])})
        elif step == "restart":
            compaction = await begin()
        elif step == "compact":
            while await compaction.compact(grant):
                pass
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("daemon.service.compaction.PIECES_MAX", pieces_max)
                await compaction.merge_some(grant, everything=step == "merge all")

    everything = np.array(ids, np.int32)
    history = await read_points(database, everything, start_us=0, end_us=2**62)
    pages = [p async for p in iterate_points(database, everything, start_us=0, end_us=2**62)]
    rollups = await read_rollups(database, everything, start_hour=0, end_hour=2**30)
    wanted = [(s, t, v) for (s, t), v in sorted(model.items())]
    assert as_model([history]) == wanted
    assert as_model(pages) == wanted
    for stored, computed in zip(rollups.columns(), roll_up(history).columns(), strict=True):
        # A sum depends on the order of adding in its last bits.
        np.testing.assert_allclose(stored, computed, rtol=1e-9, atol=1e-6)


async def a_clean_start(database: Database) -> list[int]:
    async with database.connection("control") as connection:
        await connection.execute(
            "truncate telemetry.chunk, telemetry.rollup, telemetry.latest, telemetry.journal"
        )
        await connection.execute("update telemetry.consumer set position = 0, holder = null")
    wanted = [("device", f"m{at}", Kind.NUMERIC) for at in range(SERIES)]
    return sorted(row.series_id for row in await SeriesStore(database).register(wanted))


async def test_pages_of_an_export_survive_a_merge_between_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.store.chunks.PAGE_CHUNKS", 2)
    ids = await a_clean_start(database)
    journal = JournalStore(database, writer=uuid4())
    clock = ManualClock(MIDNIGHT + 2 * DAY_US)
    lease = Lease(database, "compactor", holder=uuid4(), clock=clock)
    compaction = Compaction(database, clock=clock)
    await compaction.begin(await lease.take() or 0)
    assert lease.grant is not None
    written = [(0, hour * 3_600_000_000 + n, float(n)) for hour in range(7) for n in range(5)]
    for hour in range(7):
        block = a_block(ids, list(written[hour * 5 : hour * 5 + 5]))
        await journal.append(pack(block), points=len(block), catalog_version=1)
        await compaction.compact(lease.grant)

    seen: list[Block] = []
    async for page in iterate_points(database, np.array(ids, np.int32), start_us=0, end_us=2**62):
        seen.append(page)
        await compaction.merge_some(lease.grant, everything=True)

    assert as_model(seen) == [(ids[0], MIDNIGHT + t, v) for _, t, v in written]


async def test_a_range_of_a_chunk_is_read_half_open(database: Database) -> None:
    ids = await a_clean_start(database)
    journal = JournalStore(database, writer=uuid4())
    clock = ManualClock(MIDNIGHT)
    lease = Lease(database, "compactor", holder=uuid4(), clock=clock)
    compaction = Compaction(database, clock=clock)
    await compaction.begin(await lease.take() or 0)
    assert lease.grant is not None
    block = a_block(ids, [(0, n, float(n)) for n in range(10)])
    await journal.append(pack(block), points=len(block), catalog_version=1)
    await compaction.compact(lease.grant)

    found = await read_points(
        database, np.array(ids, np.int32), start_us=MIDNIGHT + 3, end_us=MIDNIGHT + 6
    )

    assert found.numbers.tolist() == [3.0, 4.0, 5.0]
