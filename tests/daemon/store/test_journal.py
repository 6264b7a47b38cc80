"""The journal against real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from daemon.domain.batches import BatchRecord
from daemon.domain.errors import BatchStored, CatalogStale, StoreUnavailable
from daemon.store.journal import JournalStore
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio


def a_batch(batch_id: str) -> BatchRecord:
    return BatchRecord("key:/bulk", batch_id, b"hash", b"answer")


async def test_a_block_reads_back_in_commit_order(database: Database) -> None:
    journal = JournalStore(database, writer=uuid4())

    first = await journal.append(b"one", points=1, catalog_version=1)
    second = await journal.append(b"two", points=2, catalog_version=1)
    rows = await journal.read_after(0, limit_blocks=10)

    assert first < second
    assert [(r.seq, r.points, r.body) for r in rows] == [(first, 1, b"one"), (second, 2, b"two")]


async def test_a_follower_never_meets_a_late_smaller_number(database: Database, dsn: str) -> None:
    journal = JournalStore(database, writer=uuid4())
    seen: list[int] = []

    async def write() -> None:
        # A daemon of its own: within one, the flush loop appends alone.
        own = Database(dsn)
        await own.open()
        for _ in range(40):
            await JournalStore(own, writer=uuid4()).append(b"x", points=1, catalog_version=1)
        await own.close()

    async def follow() -> None:
        while len(seen) < 160:
            rows = await journal.read_after(seen[-1] if seen else 0, limit_blocks=50)
            seen.extend(r.seq for r in rows)

    await asyncio.wait_for(asyncio.gather(follow(), *(write() for _ in range(4))), 120)

    assert seen == [r.seq for r in await journal.read_after(0, limit_blocks=1000)]


async def test_a_stale_catalogue_is_refused(database: Database) -> None:
    journal = JournalStore(database, writer=uuid4())

    with pytest.raises(CatalogStale):
        await journal.append(b"x", points=1, catalog_version=0)

    assert await journal.read_after(0, limit_blocks=10) == []


async def test_a_batch_id_is_stored_once_with_its_block(database: Database) -> None:
    journal = JournalStore(database, writer=uuid4())
    await journal.append(b"x", points=1, catalog_version=1, batches=[a_batch("b1")])

    with pytest.raises(BatchStored):
        await journal.append(
            b"y", points=1, catalog_version=1, batches=[a_batch("b2"), a_batch("b1")]
        )
    stored = await journal.stored_batches([("key:/bulk", "b1"), ("key:/bulk", "b2")])

    assert list(stored.values()) == [a_batch("b1")]
    assert len(await journal.read_after(0, limit_blocks=10)) == 1


async def test_own_bodies_can_be_left_out(database: Database) -> None:
    ours, theirs = (JournalStore(database, writer=uuid4()) for _ in range(2))
    await ours.append(b"ours", points=1, catalog_version=1)
    await theirs.append(b"theirs", points=1, catalog_version=1)

    rows = await ours.read_after(0, limit_blocks=10, without_own_bodies=True)

    assert [r.body for r in rows] == [None, b"theirs"]


async def test_without_a_partition_for_now_a_block_may_be_sent_again(database: Database) -> None:
    journal = JournalStore(database, writer=uuid4())
    async with database.connection("control") as connection:
        partitions = await connection.fetch(
            "select inhrelid::regclass as name from pg_inherits"
            " where inhparent = 'telemetry.journal'::regclass"
        )
        for row in partitions:
            await connection.execute(f"drop table {row['name']}")

    with pytest.raises(StoreUnavailable):
        await journal.append(b"x", points=1, catalog_version=1)
    async with database.connection("control") as connection:
        await connection.execute("select telemetry.journal_make_partitions(now(), 2)")
    seq = await journal.append(b"x", points=1, catalog_version=1)
    assert [row.seq for row in await journal.read_after(0, limit_blocks=10)] == [seq]
