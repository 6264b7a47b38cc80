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
    """`outbox` is how many events wait for the relay and how old the oldest is, in seconds; None
    without a relay."""

    partitions: list[Partition]
    outbox: tuple[int, float] | None


class FigureStore:
    """Asked once in a while in the background, never by a scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoreFigures:
        """Raises StoreUnavailable."""
        partitions = await housekeeping.list_partitions(self._database)
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["outbox"])
        return StoreFigures(partitions, None if row is None else (row["events"], row["oldest_s"]))

    def pool_numbers(self) -> dict[tuple[str, str], int]:
        """Connections by class of work and state."""
        return self._database.pool_numbers()
