"""What only the database knows of the figures that monitoring reads."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.store import housekeeping
from daemon.store.housekeeping import Partition
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("figures")


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """`outbox` is how many events wait for the relay and how old the oldest is, in seconds."""

    partitions: list[Partition]
    outbox: tuple[int, float]


@dataclass(frozen=True, slots=True)
class Work:
    """Up to where the journal is worked on, and whether a process of the fleet has the lease."""

    position: int
    is_led: bool


class FigureStore:
    """Asked once in a while in the background, never by a scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoreFigures:
        """Raises StoreUnavailable."""
        partitions = await housekeeping.list_partitions(self._database)
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["outbox"])
        return StoreFigures(partitions, (0, 0.0) if row is None else (row[0], row[1]))

    async def works(self) -> dict[str, Work]:
        """What one process does for all, by name, once it has begun. Raises StoreUnavailable."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["works"])
        return {name: Work(position, is_led=is_led) for name, position, is_led in rows}

    def pool_numbers(self) -> dict[tuple[str, str], int]:
        """Connections by class of work and state."""
        return self._database.pool_numbers()
