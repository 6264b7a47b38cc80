"""Hourly rollups in the database, as columns.

They come packed into one value, each row as its columns big-endian, without a Python object per
row. For 16,800 rows that took 10.8 ms where one array per column took 14.3 (medians, one run).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daemon.domain.rollup import NO_ROLLUPS, Rollups
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("rollups")
_COLUMNS = [
    *((name, "i4") for name in ("series_ids", "hours", "points", "numbers")),
    *((name, "f8") for name in ("sums", "mins", "maxs", "firsts", "lasts")),
]
_ROW = np.dtype([(name, f">{kind}") for name, kind in _COLUMNS])


async def read_rollups(
    database: Database, series_ids: npt.NDArray[np.int32], *, start_hour: int, end_hour: int
) -> Rollups:
    """Rollups of whole hours since 1970 in [start_hour, end_hour), by series id, then hour."""
    if not len(series_ids) or start_hour >= end_hour:
        return NO_ROLLUPS
    async with database.connection("query") as connection:
        packed = await connection.fetchval(
            SQL["read_rollups"], series_ids.tolist(), start_hour, end_hour
        )
    return unpack_rollups(packed)


def unpack_rollups(packed: bytes | None) -> Rollups:
    """The rollups of packed rows, sorted by series id, then hour; None stands for no rows."""
    if packed is None:
        return NO_ROLLUPS
    rows = np.frombuffer(packed, _ROW)
    rollups = Rollups(*(rows[name].astype(f"={kind}") for name, kind in _COLUMNS))
    # Sorted here: 1.3 ms for 16,800 rows, where the database took 2.5.
    return rollups.take(np.lexsort((rollups.hours, rollups.series_ids)))
