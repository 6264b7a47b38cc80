"""Metric definitions as stored, and the retention that outlives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.events import NewEvent
from daemon.domain.metrics import Metric
from daemon.store import events
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("metrics")
Change = Callable[[Metric, bool], Metric]
Tell = Callable[[Metric], NewEvent]


@dataclass(frozen=True, slots=True)
class MetricFilter:
    """`text` is part of the name or description, `likes` LIKE patterns of names; None means all."""

    data_type: str | None = None
    metric_type: str | None = None
    text: str | None = None
    likes: Sequence[str] | None = None


class MetricStore:
    """Every change makes all daemons reload the catalogue and tells its event, in one
    transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self, metric: Metric, *, keep_retention: bool, tell: Tell
    ) -> tuple[Metric, int | None] | None:
        """Store a definition; None when the name is taken.

        With `keep_retention`, the retention that an earlier definition left is taken over; its days
        are the second
        value, None when there was none.
        """
        async with self._database.transaction("control") as connection:
            found: int | None = None
            if keep_retention:
                found = await connection.fetchval(SQL["find_retention"], metric.name)
                metric = replace(metric, retention_days=found or metric.retention_days)
            row = await connection.fetchrow(
                SQL["insert_metric"],
                metric.metric_id,
                metric.name,
                metric.description,
                metric.data_type,
                metric.metric_type,
                metric.unit,
                metric.min_value,
                metric.max_value,
                _json(metric.allowed_values),
                metric.retention_days,
                metric.aggregation_interval,
                _json(metric.tags),
                _json(metric.metadata),
                metric.created_by,
            )
            if row is None:
                return None
            await _set_retention(connection, metric)
            await connection.fetchval(SQL["catalog_changed"])
            metric = replace(metric, created_at=row["created_at"], updated_at=row["updated_at"])
            await events.append(connection, tell(metric))
        return metric, found

    async def change(self, name: str, change: Change, *, tell: Tell) -> Metric | None:
        """Replace a definition by `change(metric, has_data)`; None when there is none.

        What `change` raises undoes it.
        """
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["lock_metric"], name)
            if row is None:
                return None
            has_data = await connection.fetchval(SQL["metric_has_data"], name)
            metric = change(_metric(row), has_data)
            stamps = await connection.fetchrow(
                SQL["update_metric"],
                name,
                metric.description,
                metric.data_type,
                metric.metric_type,
                metric.unit,
                metric.min_value,
                metric.max_value,
                _json(metric.allowed_values),
                metric.retention_days,
                metric.aggregation_interval,
                _json(metric.tags),
                _json(metric.metadata),
            )
            assert stamps is not None
            await _set_retention(connection, metric)
            await connection.fetchval(SQL["catalog_changed"])
            metric = replace(metric, updated_at=stamps["updated_at"])
            await events.append(connection, tell(metric))
        return metric

    async def find(self, name: str) -> Metric | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_metric"], name)
        return None if row is None else _metric(row)

    async def page(
        self, wanted: MetricFilter, *, limit: int, offset: int
    ) -> tuple[list[Metric], int]:
        """A page by name, and how many there are in all."""
        text = None if wanted.text is None else f"%{_escaped(wanted.text)}%"
        filters = (wanted.data_type, wanted.metric_type, text, wanted.likes)
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_metrics"], *filters, limit, offset)
            total = (
                rows[0]["total"]
                if rows
                else await connection.fetchval(SQL["count_metrics"], *filters)
            )
        return [_metric(row) for row in rows], total

    async def delete(self, name: str, *, tell: Callable[[int], NewEvent]) -> int | None:
        """Remove the definition and return the days its points are still kept.

        None when there is none.
        """
        async with self._database.transaction("control") as connection:
            days: int | None = await connection.fetchval(SQL["delete_metric"], name)
            if days is not None:
                await connection.fetchval(SQL["catalog_changed"])
                await events.append(connection, tell(days))
        return days


async def _set_retention(connection: Connection, metric: Metric) -> None:
    await connection.execute(SQL["set_retention"], metric.name, metric.retention_days)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _metric(row: Record) -> Metric:
    values = {name: row[name] for name in Metric.__slots__}
    for name in ("allowed_values", "tags", "metadata"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Metric(**values)
