"""Few distinct values standing for long columns: what texts around points are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SPARSE_MIN = 4
"""Values that lie within this many times the number of rows are marked in a table, not sorted."""


def coded(column: npt.NDArray[np.integer[Any]]) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Distinct values of a non-empty column, ascending; and for each row which of them it has."""
    low, high = int(column.min()), int(column.max())
    if low == high:
        return [low], np.zeros(len(column), np.int64)
    if high - low <= SPARSE_MIN * len(column):
        places = column - low
        is_there = np.zeros(high - low + 1, np.bool_)
        is_there[places] = True
        codes = np.cumsum(is_there, dtype=np.int64)[places] - 1
        return (np.flatnonzero(is_there) + low).tolist(), codes
    distinct, codes = np.unique(column, return_inverse=True)
    return distinct.tolist(), codes.astype(np.int64, copy=False)


def spread(texts: list[bytes], codes: npt.NDArray[np.int64]) -> list[bytes]:
    """The text of each row."""
    if texts.count(texts[0]) == len(texts):
        return texts[:1] * len(codes)
    rows: list[bytes] = np.array(texts, object)[codes].tolist()
    return rows
