"""How many points history holds where: what large reads are planned by.

Reading is store/chunks'.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daemon.store.arrays import read_array
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("volumes")
DAY_US = 86_400_000_000

Volumes = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


async def points_by_day(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_us: int, end_us: int
) -> Volumes:
    """(days since 1970 UTC, points) of the days of history that the range touches, in order."""
    return await _volumes(database, "points_by_day", "days", (series_ids, start_us, end_us))


async def points_by_series(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_us: int, end_us: int
) -> Volumes:
    """(series ids, points) of the series that have history on days of the range, in order."""
    return await _volumes(
        database, "points_by_series", "series_ids", (series_ids, start_us, end_us)
    )


async def _volumes(
    database: Database, query: str, key: str, span: tuple[npt.NDArray[np.int32], int, int]
) -> Volumes:
    series_ids, start_us, end_us = span
    midnight_us = start_us // DAY_US * DAY_US
    async with database.connection("query") as connection:
        row = await connection.fetchrow(SQL[query], series_ids.tolist(), midnight_us, end_us)
    if row is None or row["points"] is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return (
        read_array(row[key], "i4").astype(np.int64),
        read_array(row["points"], "i8").astype(np.int64),
    )
