"""Keeps the points that carry given tags. How contexts come about is decided at ingest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
import numpy as np

from daemon.domain.block import Block
from daemon.domain.merge import EMPTY


class _Tags(msgspec.Struct):
    """The part of a context that is looked at."""

    tags: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Tags).decode


@lru_cache(maxsize=4096)
def _tags_of(context: bytes) -> dict[str, str]:
    return _decode(context).tags or {}


def carries(block: Block, tags: Mapping[str, str]) -> Block:
    """The rows whose context has all of these tags, in their order."""
    if not tags:
        return block
    if block.context_of is None:
        return EMPTY
    # The last entry is for rows without a context, whose index is -1.
    fits = np.array([tags.items() <= _tags_of(c).items() for c in block.contexts] + [False])
    rows = np.flatnonzero(fits[block.context_of])
    return block if len(rows) == len(block) else block.take(rows)
