"""CSV reads back as it was written, and no cell of text runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.domain.csv_rows import HEADER, csv_rows, neutralised
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName

NAMES = {
    1: SeriesName("bus-1", "speed", Kind.NUMERIC),
    2: SeriesName("-bus", "door", Kind.BOOLEAN),
    3: SeriesName("bus-3", "route", Kind.STRING),
}
TRIGGERS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
CORPUS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\u00a0 \t@x",
    "a\n=cmd|' /C calc'!A0",
    "a\r\n+1",
    "a\n  -1",
    '="',
    '",=1',
    "\uff1d1",
    "\n",
    "\t",
    "-",
]


def parsed(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


def a_block(values: list[Any], *, series_id: int = 3, contexts: list[bytes] | None = None) -> Block:
    n = len(values)
    is_number = [isinstance(value, float) for value in values]
    return Block(
        np.full(n, series_id, np.int32),
        np.arange(n, dtype=np.int64) * 1_000_000,
        np.array([v if f else np.nan for v, f in zip(values, is_number, strict=True)]),
        np.zeros(n, np.int32) if contexts else None,
        contexts or [],
        {at: v for at, v in enumerate(values) if not is_number[at]},
    )


def lines_of(cell: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", cell)


def is_armed(cell: str) -> bool:
    """Whether a program might run the cell, or one of its lines."""
    if cell[:1] in tuple(TRIGGERS):
        return True
    return any(line.strip().startswith(tuple(TRIGGERS)) for line in lines_of(cell))


@pytest.mark.parametrize("text", CORPUS)
def test_no_text_of_the_corpus_runs(text: str) -> None:
    (row,) = parsed(csv_rows(a_block([text]), NAMES, is_raw=False))
    tags = json.dumps({"unit": text, "tags": {text: text}}).encode()
    (tagged,) = parsed(csv_rows(a_block([1.0], contexts=[tags]), NAMES, is_raw=False))

    assert not is_armed(row[3])
    assert row[3].replace("'", "") == text.replace("'", "")
    assert not is_armed(tagged[4])
    assert json.loads(tagged[5]) == {text: text}


@given(st.text(alphabet=st.sampled_from([*TRIGGERS, *" a1'\",\u00a0\u2028\x0b\x0c"])))
def test_no_text_runs(text: str) -> None:
    assert not is_armed(neutralised(text))


def test_numbers_stay_numbers_and_names_are_text() -> None:
    rows = parsed(csv_rows(a_block([-12.5, -3.0], series_id=1), NAMES, is_raw=False))
    doors = parsed(csv_rows(a_block([1.0, 0.0], series_id=2), NAMES, is_raw=False))

    assert [row[3] for row in rows] == ["-12.5", "-3"]
    assert [row[1:4] for row in doors] == [["'-bus", "door", "true"], ["'-bus", "door", "false"]]


def test_rows_stand_as_the_header_says() -> None:
    context = b'{"unit":"km/h","tags":{"line":"7"},"metadata":{"not":"exported"}}'
    block = a_block([1.5, "x"], contexts=[context])

    rows = parsed(HEADER + csv_rows(block, NAMES, is_raw=True))

    assert rows == [
        ["timestamp", "device_id", "metric_name", "value", "unit", "tags"],
        ["1970-01-01T00:00:00Z", "bus-3", "route", "1.5", "km/h", '{"line":"7"}'],
        ["1970-01-01T00:00:01Z", "bus-3", "route", "x", "km/h", '{"line":"7"}'],
    ]


json_values = st.recursive(
    st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(json_values, min_size=1, max_size=10))
def test_raw_cells_read_back_as_they_were(values: list[Any]) -> None:
    rows = parsed(csv_rows(a_block(values), NAMES, is_raw=True))

    assert len(rows) == len(values)
    for row, value in zip(rows, values, strict=True):
        assert row[3] == value if isinstance(value, str) else json.loads(row[3]) == value


def test_lines_end_as_rfc_4180_says() -> None:
    assert csv_rows(a_block(["a", "b"]), NAMES, is_raw=True).count(b"\r\n") == 2
