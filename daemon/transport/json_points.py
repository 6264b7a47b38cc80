"""Writes points as JSON by columns: no Python object per point but its texts.

Which points is decided in service.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from daemon.domain.block import Block
from daemon.domain.series_name import SeriesName
from daemon.domain.spread import coded, spread
from daemon.domain.texts import time_texts, value_texts

_OPEN = b'{"timestamp":"'
Texts = list[bytes]


def points_json(block: Block, names: Mapping[int, SeriesName]) -> bytes:
    """The JSON array of all rows in their order; `names` holds every series id of the block."""
    n = len(block)
    if n == 0:
        return b"[]"
    middles, tails = _around_values(block, names)
    parts = [b""] * (4 * n)
    parts[0::4] = time_texts(block.times_us)
    parts[1::4] = middles
    parts[2::4] = value_texts(block, names)
    parts[3::4] = tails
    # The opening of the next object ends each tail, hence one cut at the end.
    return b"".join((b"[", _OPEN, *parts))[: -len(_OPEN) - 1] + b"]"


def _around_values(block: Block, names: Mapping[int, SeriesName]) -> tuple[Texts, Texts]:
    """What stands between time and value, and after the value, of each row."""
    n = len(block)
    ids, codes = coded(block.series_ids)
    middle_texts = [_middle(names[i]) for i in ids]
    contexts = block.context_of
    if contexts is None:
        tail_texts = [_tail(b"{}", names[i].unit) for i in ids]
        if len(ids) == 1:
            return middle_texts * n, tail_texts * n
        return spread(middle_texts, codes), spread(tail_texts, codes)
    width = len(block.contexts) + 1
    pairs, pair_codes = coded(codes * width + contexts + 1)
    tail_texts = [
        _tail(block.contexts[p % width - 1] if p % width else b"{}", names[ids[p // width]].unit)
        for p in pairs
    ]
    return spread(middle_texts, codes), spread(tail_texts, pair_codes)


def _middle(name: SeriesName) -> bytes:
    device, metric = orjson.dumps(name.device_id), orjson.dumps(name.metric_name)
    return b'","device_id":' + device + b',"metric_name":' + metric + b',"value":'


@lru_cache(maxsize=4096)
def _tail(context: bytes, unit: str | None) -> bytes:
    known = context_of(context)
    members = {"unit": known.get("unit", unit)}
    members |= {key: known[key] for key in ("tags", "metadata") if key in known}
    return b"," + orjson.dumps(members)[1:] + b"," + _OPEN


def context_of(context: bytes | None) -> dict[str, Any]:
    """The `unit`, `tags` and `metadata` of a context; empty for None."""
    known: dict[str, Any] = orjson.loads(context) if context else {}
    return known


def instant(time_us: int) -> str:
    """One time as the contract writes it."""
    return time_texts(np.array([time_us]))[0].decode()
