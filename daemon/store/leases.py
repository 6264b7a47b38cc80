"""Leases and positions of the followers that run once in the fleet.

When to renew is decided in workers/lease. Time is the database's. A write that must be the
holder's ends with `confirm` or `move` in its own transaction: as the last statement it fences
everything before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.domain.errors import LeaseLost
from daemon.store.named_sql import load
from daemon.store.pool import Database

if TYPE_CHECKING:
    from daemon.store.pool import Connection

SQL = load("leases")


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to act as the only follower of a name, in one epoch; `holder` is a process."""

    name: str
    holder: UUID
    epoch: int


async def take(
    database: Database, name: str, *, holder: UUID, ttl_s: float
) -> tuple[Grant, int] | None:
    """The lease and the follower's position, new or renewed; None while another holds it."""
    async with database.connection("control") as connection:
        row = await connection.fetchrow(SQL["take"], name, holder, ttl_s)
    if row is None:
        return None
    return Grant(name, holder, row["lease_epoch"]), row["position"]


async def begin(database: Database, name: str, *, position: int) -> None:
    """Let a follower begin behind this position, unless it has begun."""
    async with database.connection("control", writing=True) as connection:
        await connection.execute(SQL["begin"], name, position)


async def release(database: Database, grant: Grant) -> None:
    """Let another take it at once; nothing happens when the lease is lost already."""
    async with database.connection("control") as connection:
        await connection.execute(SQL["release"], grant.name, grant.holder, grant.epoch)


async def confirm(connection: Connection, grant: Grant) -> None:
    """Raises LeaseLost; nobody can take the lease before this transaction ends."""
    held = await connection.fetchval(SQL["confirm"], grant.name, grant.holder, grant.epoch)
    if held is None:
        raise LeaseLost


async def move_lazily(database: Database, grant: Grant, *, position: int, to: int) -> None:
    """Move the position without waiting for the disk: a crash of the database may undo it.

    For who may do again what it did. Raises LeaseLost.
    """
    async with database.transaction("control") as connection:
        await connection.execute(SQL["commit_lazily"])
        await move(connection, grant, position=position, to=to)


async def move(connection: Connection, grant: Grant, *, position: int, to: int) -> None:
    """Move the position, once. Raises LeaseLost when it is not `position` or the lease is gone."""
    moved = await connection.fetchval(
        SQL["move"], grant.name, grant.holder, grant.epoch, position, to
    )
    if moved is None:
        raise LeaseLost


async def read_position(database: Database, name: str) -> int:
    """How far the follower has come; 0 when it has not begun."""
    async with database.connection("control") as connection:
        position: int | None = await connection.fetchval(SQL["read_position"], name)
    return position or 0
