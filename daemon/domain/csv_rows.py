"""Points as CSV (RFC 4180), written by columns; cells that a spreadsheet would run are made text.

Neutralising follows the OWASP page on CSV injection: a text that begins with a trigger, on any of
its lines and behind any blanks, gets an apostrophe in front and quotes around.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from daemon.domain.block import Block
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName
from daemon.domain.spread import coded, spread
from daemon.domain.texts import number_texts, object_text, time_texts

HEADER = b"timestamp,device_id,metric_name,value,unit,tags\r\n"
# A line that is a trigger behind blanks; full-width signs count too, as some programs fold them.
_TRIGGER = re.compile(r"(?:(?<=[\r\n])|\A)(?=[^\S\r\n]*[=+\-@\t\uff1d\uff0b\uff0d\uff20])")
_BLANK_START = re.compile(r"\A(?=\s*[\r\n\t])")
_NEEDS_QUOTES = re.compile(r'[",\r\n]|\A\s|\s\Z')


def csv_rows(block: Block, names: Mapping[int, SeriesName], *, is_raw: bool) -> bytes:
    """All rows in their order, without the header; `is_raw` leaves texts as they are."""
    n = len(block)
    if n == 0:
        return b""
    parts = [b""] * (4 * n)
    parts[0::4] = time_texts(block.times_us)
    parts[1::4] = _middles(block, names, is_raw)
    parts[2::4] = _values(block, names, is_raw)
    parts[3::4] = _tails(block, names, is_raw)
    return b"".join(parts)


def text_cell(text: str, *, is_raw: bool) -> bytes:
    """One cell of text, quoted where it has to be."""
    safe = text if is_raw else neutralised(text)
    if safe is not text or _NEEDS_QUOTES.search(safe):
        safe = '"' + safe.replace('"', '""') + '"'
    return safe.encode()


def neutralised(text: str) -> str:
    """The text itself (the same object) when no program would run it, else with apostrophes."""
    safe = _TRIGGER.sub("'", text)
    if safe[:1] != "'" or text[:1] == "'":
        safe = _BLANK_START.sub("'", safe)
    return text if safe == text else safe


def _middles(block: Block, names: Mapping[int, SeriesName], is_raw: bool) -> list[bytes]:
    ids, codes = coded(block.series_ids)
    texts = []
    for series_id in ids:
        name = names[series_id]
        device = text_cell(name.device_id, is_raw=is_raw)
        texts.append(b"," + device + b"," + text_cell(name.metric_name, is_raw=is_raw) + b",")
    return spread(texts, codes)


def _values(block: Block, names: Mapping[int, SeriesName], is_raw: bool) -> list[bytes]:
    texts = number_texts(block.numbers)
    flags = [i for i, name in names.items() if name.kind == Kind.BOOLEAN]
    if flags:
        for row in np.flatnonzero(np.isin(block.series_ids, flags)).tolist():
            texts[row] = b"true" if block.numbers[row] else b"false"
    for row, value in block.objects.items():
        texts[row] = _object_cell(value, is_raw)
    return texts


def _object_cell(value: Any, is_raw: bool) -> bytes:
    match value:
        case str():
            return text_cell(value, is_raw=is_raw)
        case dict() | list():
            return text_cell(orjson.dumps(value).decode(), is_raw=is_raw)
    return object_text(value)


def _tails(block: Block, names: Mapping[int, SeriesName], is_raw: bool) -> list[bytes]:
    ids, codes = coded(block.series_ids)
    width = len(block.contexts) + 1
    contexts = np.full(len(block), -1) if block.context_of is None else block.context_of
    pairs, pair_codes = coded(codes * width + contexts + 1)
    texts = []
    for pair in pairs:
        known = orjson.loads(block.contexts[pair % width - 1]) if pair % width else {}
        unit = known.get("unit", names[ids[pair // width]].unit) or ""
        tags = known.get("tags")
        tags_text = orjson.dumps(tags).decode() if tags else ""
        unit_cell = text_cell(unit, is_raw=is_raw)
        texts.append(b"," + unit_cell + b"," + text_cell(tags_text, is_raw=is_raw) + b"\r\n")
    return spread(texts, pair_codes)
