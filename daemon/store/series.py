"""Series, definitions as ingest needs them, and the stored latest points: what the live views are
loaded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from asyncpg import Record

from daemon.domain.catalog import Definition, SeriesRow
from daemon.domain.kinds import Kind, kind_named
from daemon.domain.latest import LatestPoint
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("series")
HOLD_TRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole catalogue at one moment."""

    version: int
    epoch: str
    series: list[SeriesRow]
    definitions: Mapping[str, Definition]
    retention_days: Mapping[str, int]


class SeriesStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self) -> tuple[int, str]:
        """(catalogue version, epoch of the journal). Raises NewEpoch when `expect` said another."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["catalog_state"])
        assert row is not None
        self._database.check_epoch(row["epoch"])
        return row["catalog_version"], row["epoch"]

    def expect(self, epoch: str) -> None:
        """From now on the database has this epoch, or is refused."""
        self._database.expect(epoch)

    async def catalog(self) -> Catalog:
        """Everything, as of one snapshot."""
        async with (
            self._database.connection("control") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await connection.fetchrow(SQL["catalog_state"])
            series = await connection.fetch(SQL["all_series"])
            definitions = await connection.fetch(SQL["definitions"])
            retentions = await connection.fetch(SQL["retentions"])
        assert state is not None
        return Catalog(
            state["catalog_version"],
            state["epoch"],
            [_series(r) for r in series],
            {r["name"]: _definition(r) for r in definitions},
            {r["metric_name"]: r["retention_days"] for r in retentions},
        )

    async def series_after(self, series_id: int) -> list[SeriesRow]:
        """Series registered after this id; one that commits late may be missed, so unknown ids
        reload everything."""
        async with self._database.connection("control") as connection:
            return [_series(r) for r in await connection.fetch(SQL["series_after"], series_id)]

    async def register(self, wanted: Sequence[tuple[str, str, Kind]]) -> list[SeriesRow]:
        """Make (device, metric, kind) known and return their series; a known one keeps its kind."""
        devices = [w[0] for w in wanted]
        metrics = [w[1] for w in wanted]
        async with self._database.transaction("control") as connection:
            for _ in range(HOLD_TRIES_MAX):
                await connection.execute(SQL["register_devices"], devices)
                # A device that is deleted between these two is registered anew.
                if await connection.fetchval(SQL["hold_devices"], devices) == len(set(devices)):
                    break
            await connection.execute(
                SQL["register_series"], devices, metrics, [int(w[2]) for w in wanted]
            )
            rows = await connection.fetch(SQL["find_series"], devices, metrics)
        return [_series(r) for r in rows]

    async def latest(self) -> list[LatestPoint]:
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["latest_rows"])
        return [_latest(r) for r in rows]


def _series(row: Record) -> SeriesRow:
    return SeriesRow(row["series_id"], row["device_id"], row["metric_name"], Kind(row["kind"]))


def _definition(row: Record) -> Definition:
    allowed = row["allowed_values"]
    return Definition(
        kind_named(row["data_type"]),
        row["min_value"],
        row["max_value"],
        None if allowed is None else frozenset(msgspec.json.decode(allowed)),
        row["unit"],
        row["metric_type"],
    )


def _latest(row: Record) -> LatestPoint:
    number = row["number"]
    return LatestPoint(
        row["series_id"],
        row["time_us"],
        row["seq"],
        number if number is not None else msgspec.json.decode(row["object"]),
        None if row["context"] is None else row["context"].encode(),
        row["changed_at_us"],
        _previous(row["previous"]),
    )


def _previous(text: str | None) -> Any:
    if text is None:
        return None
    value = msgspec.json.decode(text)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value
