"""Writes points as JSON by columns: no Python object per point but its texts.

Which points is decided in service.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from daemon.domain.block import Block, Int64s
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName
from daemon.domain.spread import coded, spread
from daemon.domain.texts import object_text, time_texts, value_texts

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC; the Z is written by hand.
_OPEN = b'{"timestamp":"'
FEW_ROWS = 32
"""Up to so many rows are written one by one."""


def points_json(block: Block, names: Mapping[int, SeriesName]) -> bytes:
    """The JSON array of all rows in their order; `names` holds every series id of the block."""
    return b"".join(points_parts(block, names))


def points_parts(block: Block, names: Mapping[int, SeriesName]) -> list[bytes]:
    """The same in parts: an answer joins them once, since copying a megabyte is not for nothing."""
    n = len(block)
    if n == 0:
        return [b"[]"]
    middles, values, tails, codes = _columns(block, names)
    parts = [b""] * (4 * n)
    parts[0::4] = time_texts(block.times_us)
    parts[1::4] = middles
    parts[2::4] = values
    parts[3::4] = spread(tails, codes)
    parts[0] = b"[" + _OPEN + parts[0]
    parts[-1] = _closed(parts[-1]) + b"]"
    return parts


def point_texts(block: Block, names: Mapping[int, SeriesName]) -> list[bytes]:
    """The JSON object of each row: what streams put together anew for every reader."""
    if len(block) <= FEW_ROWS:
        return _few_texts(block, names)
    middles, values, tails, codes = _columns(block, names)
    ends = spread([_closed(tail) for tail in tails], codes)
    columns = zip(time_texts(block.times_us), middles, values, ends, strict=True)
    return [b"%b%b%b%b%b" % (_OPEN, *column) for column in columns]


def _few_texts(block: Block, names: Mapping[int, SeriesName]) -> list[bytes]:
    """The same row by row: columns pay from some rows on."""
    texts = []
    ids, times, numbers = block.series_ids.tolist(), block.times_us.tolist(), block.numbers.tolist()
    context_of = [-1] * len(ids) if block.context_of is None else block.context_of.tolist()
    for row, series_id in enumerate(ids):
        name, context = names[series_id], context_of[row]
        if row in block.objects:
            value = object_text(block.objects[row])
        elif name.kind == Kind.BOOLEAN:
            value = b"true" if numbers[row] else b"false"
        else:
            value = orjson.dumps(numbers[row]).removesuffix(b".0")
        tail = _tail(block.contexts[context] if context >= 0 else b"{}", name.unit)
        time = instant(times[row]).encode()
        texts.append(b"%b%b%b%b%b" % (_OPEN, time, _middle(name), value, _closed(tail)))
    return texts


def _columns(
    block: Block, names: Mapping[int, SeriesName]
) -> tuple[list[bytes], list[bytes], list[bytes], Int64s]:
    """Middle and value of each row, and the distinct tails with which of them each row has."""
    ids, codes = coded(block.series_ids)
    series = [names[i] for i in ids]
    tails, tail_codes = _tails(block, series, codes)
    middles = spread([_middle(name) for name in series], codes)
    values = value_texts(block, dict(zip(ids, series, strict=True)))
    return middles, values, tails, tail_codes


def _closed(tail: bytes) -> bytes:
    """A tail without the opening of the next object."""
    return tail[: -len(_OPEN) - 1]


def _tails(block: Block, series: list[SeriesName], codes: Int64s) -> tuple[list[bytes], Int64s]:
    """What stands behind the value: the distinct texts, and which of them each row has; `codes`
    say which of `series` a row belongs to.
    """
    units = [name.unit for name in series]
    if block.context_of is None:
        return [_tail(b"{}", unit) for unit in units], codes
    width = len(block.contexts) + 1
    pairs, pair_codes = coded(codes * width + block.context_of + 1)
    texts = [
        _tail(block.contexts[p % width - 1] if p % width else b"{}", units[p // width])
        for p in pairs
    ]
    return texts, pair_codes


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
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06}Z" if micros else _second(seconds) + "Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()
