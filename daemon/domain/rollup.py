"""Hourly rollups of each series, computed from points and from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Rollups:
    """One row per series and hour that has points, sorted by series id, then hour, as columns.

    hours    int32    whole hours since 1970-01-01T00:00Z
    points   int32    all points of the hour
    numbers  int32    points whose value is a number (numeric, or boolean as 0 and 1)
    sums, mins, maxs, firsts, lasts  float64  over the numbers in time order;
             NaN where `numbers` is 0. A sum may be infinite when finite numbers overflow.
    """

    series_ids: npt.NDArray[np.int32]
    hours: npt.NDArray[np.int32]
    points: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int32]
    sums: npt.NDArray[np.float64]
    mins: npt.NDArray[np.float64]
    maxs: npt.NDArray[np.float64]
    firsts: npt.NDArray[np.float64]
    lasts: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hours)


_NO_INTS = np.empty(0, np.int32)
_NO_FLOATS = np.empty(0, np.float64)
NO_ROLLUPS = Rollups(
    _NO_INTS,
    _NO_INTS,
    _NO_INTS,
    _NO_INTS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
    _NO_FLOATS,
)
