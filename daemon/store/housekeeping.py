"""Statements that make room: partitions of the journal, expired history, old answers.

What has expired is decided in service/retention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from daemon.domain.errors import StoreUnavailable
from daemon.store import leases
from daemon.store.leases import Grant
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("housekeeping")
# Waiting longer for a lock would hold up those who queue behind us.
LOCK_TIMEOUT_MS = 1_000
ASKS = "telemetry_housekeeping"
"""The channel of `ask`."""
_PARTITION = re.compile(r"journal_\d{10}")


@dataclass(frozen=True, slots=True)
class Partition:
    """One hour of the journal; the name ends in YYYYMMDDHH."""

    name: str
    bytes: int
    is_pending: bool


async def ask(database: Database) -> None:
    """Wake housekeeping, in whichever process it is."""
    async with database.connection("control") as connection:
        await connection.execute(SQL["ask"])


async def make_partitions(database: Database, *, now_us: int, hours: int) -> int:
    """Make the partitions from the hour before now that are missing; returns how many.

    Safe to call from several processes at once.
    """
    async with database.connection("control", writing=True) as connection:
        return int(await connection.fetchval(SQL["make_partitions"], now_us, hours))


async def list_partitions(database: Database) -> list[Partition]:
    """The partitions that are attached, oldest first."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(SQL["list_partitions"])
    return [Partition(row["name"], row["bytes"], row["is_pending"]) for row in rows]


async def list_detached(database: Database) -> list[str]:
    """Partitions that still have to be dropped."""
    async with database.connection("control") as connection:
        return [row["name"] for row in await connection.fetch(SQL["list_detached"])]


async def newest_in(database: Database, *, start_us: int, end_us: int) -> int | None:
    """The newest position appended in that time; None when there is none."""
    async with database.connection("control") as connection:
        newest: int | None = await connection.fetchval(SQL["newest_in"], start_us, end_us)
    return newest


async def needed_after(database: Database) -> int:
    """Every follower has read up to here."""
    async with database.connection("control") as connection:
        return int(await connection.fetchval(SQL["needed_after"]) or 0)


async def raise_floor(database: Database, seq: int) -> None:
    """Say that blocks up to `seq` may be gone; before they go, so that no reader misses them
    unawares."""
    async with database.connection("control", writing=True) as connection:
        await connection.execute(SQL["raise_floor"], seq)


async def drop_partition(database: Database, partition: str, *, is_pending: bool = False) -> bool:
    """Take a partition out of the journal and drop it; False when somebody reads it still.

    Appends and reads of other partitions go on meanwhile. What is left half done is finished by
    the next call, for a pending or a detached partition.
    """
    step = "finalize_partition" if is_pending else "detach_partition"
    return await _alter(database, step, partition) and await drop_detached(database, partition)


async def drop_detached(database: Database, partition: str) -> bool:
    """Drop a partition that is not part of the journal any more."""
    return await _alter(database, "drop_partition", partition)


async def _alter(database: Database, step: str, partition: str) -> bool:
    if not _PARTITION.fullmatch(partition):
        raise ValueError(f"not a partition of the journal: {partition}")
    # Not in a transaction: a concurrent detach makes its own two.
    try:
        async with database.connection("control", writing=True) as connection:
            await connection.execute(SQL["set_lock_timeout"], str(LOCK_TIMEOUT_MS))
            await connection.execute(SQL[step].format(partition=partition))
    except StoreUnavailable:
        return False
    return True


async def expire_chunks(database: Database, grant: Grant, *arguments: int) -> tuple[int, int]:
    """The chunks that went, and the points that they held. Raises LeaseLost."""
    async with database.transaction("control") as connection:
        row = await connection.fetchrow(SQL["expire_chunks"], *arguments)
        await leases.confirm(connection, grant)
    assert row is not None
    return row["chunks"], row["points"]


async def expire(database: Database, grant: Grant, what: str, *arguments: int) -> int:
    """Run one of the expire statements; returns how many rows went. Raises LeaseLost."""
    async with database.transaction("control") as connection:
        status = await connection.execute(SQL[what], *arguments)
        await leases.confirm(connection, grant)
    return int(status.rsplit(" ", 1)[1])
