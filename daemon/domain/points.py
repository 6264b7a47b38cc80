"""Points as a request brings them, in columns, before they have series: what decoding yields and
ingest admits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
"""Device ids and metric names (contract, section 1)."""

UNDECODED = 0
"""Kind of a row that was refused while decoding."""


class Refusal(NamedTuple):
    """One refused point: `row` is its place in the request, `code` one of the contract's."""

    row: int
    code: str
    detail: str
    retryable: bool = False


@dataclass(slots=True)
class Draft:
    """Points of a request in arrival order, all columns of length n.

    devices, metrics  str      distinct keys: key k is (devices[k], metrics[k])
    key_of    int32   (n,)     which key each point has
    times_us  int64   (n,)     INVALID_US where the stamp can't be read
    numbers   float64 (n,)     NaN where the value is an object
    kinds     uint8   (n,)     Kind of each value; UNDECODED where `refusals` says why; None when
        all are numeric
    objects   row -> str, dict or list
    context_of int32  (n,)     index into `contexts`, -1 for none; None when no point has one
    rows      (n,)             place of each point in the request; None when it is 0..n-1
    """

    devices: list[str]
    metrics: list[str]
    key_of: npt.NDArray[np.int32]
    times_us: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.uint8] | None = None
    objects: dict[int, Any] = field(default_factory=dict)
    context_of: npt.NDArray[np.int32] | None = None
    contexts: list[bytes] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.key_of)


def is_name(text: object) -> bool:
    """Whether the text may be a device id or a metric name."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None
