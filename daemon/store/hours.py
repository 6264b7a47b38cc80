"""One aggregate of rollup hours, as columns: a third of what whole rollups cost to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from daemon.store.arrays import read_array
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("hours")
HOUR_BITS = 24

Column = Literal["count", "sum", "min", "max", "first", "last"]


@dataclass(frozen=True, slots=True)
class Hours:
    """One row per series and hour that has points, in order of both.

    keys    int64    series id << HOUR_BITS | whole hours since 1970
    counts  int64    all points for `count`, else points that are numbers
    values  float64  NaN where there is no number, and for `count`
    """

    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


async def read_hours(
    database: Database,
    series_ids: npt.NDArray[np.int32],
    *,
    start_hour: int,
    end_hour: int,
    column: Column,
) -> Hours:
    """The hours in [start_hour, end_hour)."""
    row = None
    if len(series_ids) and start_hour < end_hour:
        async with database.connection("query") as connection:
            row = await connection.fetchrow(
                SQL["read_hours"], series_ids.tolist(), start_hour, end_hour, column
            )
    if row is None or row["keys"] is None:
        return Hours(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    keys = read_array(row["keys"], "i8")
    # Sorting here is cheaper than in the database, where each row is moved as a tuple.
    order = np.argsort(keys, kind="stable")
    return Hours(
        keys[order],
        read_array(row["counts"], "i4").astype(np.int64)[order],
        read_array(row["values"], "f8")[order],
    )
