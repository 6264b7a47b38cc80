"""Hourly rollups in the database, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daemon.domain.rollup import NO_ROLLUPS, Rollups
from daemon.store.arrays import read_array
from daemon.store.named_sql import load
from daemon.store.pool import Database

if TYPE_CHECKING:
    import asyncpg

SQL = load("rollups")


async def read_rollups(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_hour: int, end_hour: int
) -> Rollups:
    """Rollups of whole hours since 1970 in [start_hour, end_hour), by series id, then hour."""
    if not len(series_ids) or start_hour >= end_hour:
        return NO_ROLLUPS
    async with database.connection("query") as connection:
        row = await connection.fetchrow(
            SQL["read_rollups"], series_ids.tolist(), start_hour, end_hour
        )
    return rollups_of(row)


def rollups_of(row: asyncpg.Record | None) -> Rollups:
    """The columns of a row with one array each; none when there was nothing to gather."""
    if row is None or row["hours"] is None:
        return NO_ROLLUPS
    integers = [read_array(row[n], "i4") for n in ("series_ids", "hours", "points", "numbers")]
    doubles = [read_array(row[n], "f8") for n in ("sums", "mins", "maxs", "firsts", "lasts")]
    return Rollups(*integers, *doubles)
