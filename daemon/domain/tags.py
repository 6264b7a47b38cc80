"""Keeps the points that carry given tags. How contexts come about is decided at ingest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block


class _Tags(msgspec.Struct):
    """The part of a context that is looked at."""

    tags: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Tags).decode


@lru_cache(maxsize=4096)
def _tags_of(context: bytes) -> dict[str, str]:
    return _decode(context).tags or {}


def rows_carrying(block: Block, tags: Mapping[str, str]) -> npt.NDArray[np.intp]:
    """Rows whose context has all of these tags, in their order."""
    if block.context_of is None:
        return np.arange(0 if tags else len(block))
    # The last entry is for rows without a context, whose index is -1.
    fits = [tags.items() <= _tags_of(c).items() for c in block.contexts] + [not tags]
    return np.flatnonzero(np.array(fits)[block.context_of])


def carries(block: Block, tags: Mapping[str, str]) -> Block:
    """The block of the rows that carry all of these tags."""
    if not tags:
        return block
    rows = rows_carrying(block, tags)
    return block if len(rows) == len(block) else block.take(rows)
