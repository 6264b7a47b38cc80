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
class Judging:
    """Up to where the journal is judged, and whether a process of the fleet has the lease."""

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

    async def judging(self, name: str) -> Judging:
        """Of the follower of this name, whichever process it is. Raises StoreUnavailable."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["judging"], name)
        return Judging(0, is_led=False) if row is None else Judging(row[0], is_led=row[1])

    def pool_numbers(self) -> dict[tuple[str, str], int]:
        """Connections by class of work and state."""
        return self._database.pool_numbers()
