"""One-dimensional arrays in PostgreSQL's binary form, to and from numpy.

Form (PostgreSQL source, array_send): int32 dimensions, int32 has_nulls, uint32 element type,
int32 length, int32 lower bound, then each element as int32 size and big-endian bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

_HEAD = struct.Struct(">iiIii")
_OIDS: dict[str, int] = {"i1": 18, "i2": 21, "i4": 23, "i8": 20, "f8": 701}
_ELEMENTS = {kind: np.dtype([("size", ">i4"), ("value", f">{kind}")]) for kind in _OIDS}


def read_array(data: bytes, kind: str) -> npt.NDArray[Any]:
    """The elements of an `array_send(...)` without nulls; `kind` is i1, i2, i4, i8 or f8."""
    if len(data) <= 12:
        return np.empty(0, kind)
    elements = np.frombuffer(data, _ELEMENTS[kind], offset=_HEAD.size)
    return elements["value"].astype(kind)


def write_array(values: npt.NDArray[Any], kind: str) -> bytes:
    """What `array_recv` takes for a non-empty array."""
    elements = np.empty(len(values), _ELEMENTS[kind])
    elements["size"] = int(kind[1])
    elements["value"] = values
    return _HEAD.pack(1, 0, _OIDS[kind], len(values), 1) + elements.tobytes()
