"""Counts over history; what is not in chunks yet is counted by service/stats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("stats")


@dataclass(frozen=True, slots=True)
class SeriesVolumes:
    """All is as of `position` of the journal; `points_of` and `bytes_of` are by series id."""

    position: int
    points_of: dict[int, int]
    bytes_of: dict[int, int]
    points_since: int


@dataclass(frozen=True, slots=True)
class TotalVolumes:
    """All is as of `position` of the journal; `points_of_hour` is by hours since 1970."""

    position: int
    points: int
    points_of_hour: dict[int, int]
    devices_of_type: dict[str, int]


class StatsStore:
    """Each answer is of one snapshot, so that the position fits the counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_series(self, series_ids: Sequence[int], *, since_hour: int) -> SeriesVolumes:
        async with self._snapshot() as connection:
            position = await connection.fetchval(SQL["compacted_to"])
            rows = await connection.fetch(SQL["series_volumes"], series_ids)
            since = await connection.fetchval(SQL["series_points_since"], series_ids, since_hour)
        return SeriesVolumes(
            position,
            {row["series_id"]: row["points"] for row in rows},
            {row["series_id"]: row["bytes"] for row in rows},
            since,
        )

    async def alerts_since(
        self,
        since: datetime,
        *,
        device_id: str | None = None,
        metric_names: Sequence[str] | None = None,
    ) -> int:
        """Alerts that fired since then, but for shadows; None means all."""
        async with self._database.connection("query") as connection:
            found = await connection.fetchval(SQL["alerts_since"], since, device_id, metric_names)
        return int(found)

    async def of_all(self, *, since_hour: int) -> TotalVolumes:
        async with self._snapshot() as connection:
            position = await connection.fetchval(SQL["compacted_to"])
            points = await connection.fetchval(SQL["total_points"])
            hours = await connection.fetch(SQL["points_by_hour"], since_hour)
            types = await connection.fetch(SQL["devices_by_type"])
        return TotalVolumes(
            position,
            points,
            {row["hour"]: row["points"] for row in hours},
            {row["type"]: row["devices"] for row in types},
        )

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Connection]:
        async with (
            self._database.connection("query") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection
