"""Few distinct values standing for long columns: what texts around points are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def coded(column: npt.NDArray[Any]) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Distinct values of a non-empty column, and for each row which of them it has."""
    if bool((column == column[0]).all()):
        return [int(column[0])], np.zeros(len(column), np.int64)
    distinct, codes = np.unique(column, return_inverse=True)
    return distinct.tolist(), codes.astype(np.int64, copy=False)


def spread(texts: list[bytes], codes: npt.NDArray[np.int64]) -> list[bytes]:
    """The text of each row."""
    if len(texts) == 1:
        return texts * len(codes)
    rows: list[bytes] = np.array(texts, object)[codes].tolist()
    return rows
