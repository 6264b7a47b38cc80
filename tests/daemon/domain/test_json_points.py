"""Points as JSON equal what json.dumps would write of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.domain.json_points import point_texts, points_json
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName

NAMES = {
    1: SeriesName("bus-1", "speed", Kind.NUMERIC),
    2: SeriesName("bus/2", "is_open", Kind.BOOLEAN),
    3: SeriesName("bus:3", "route", Kind.STRING, "line"),
}
CONTEXTS = [
    b'{"unit":"mph"}',
    b'{"tags":{"a":"\xc3\xa9 \\"x\\""}}',
    b'{"unit":null,"metadata":{"deep":[1,{"b":null}]}}',
]
finite = st.floats(allow_nan=False, allow_infinity=False)
maps = st.dictionaries(st.text(), st.integers(-9, 9))
anything = st.one_of(st.text(), st.booleans(), finite, maps, st.lists(finite))
micros = st.integers(
    int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000,
    int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1_000_000,
)
times = st.one_of(micros, st.integers(1_700_000_000, 1_700_200_000).map(lambda s: s * 1_000_000))
rows = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), times, finite, st.integers(-1, 2), st.none() | anything),
    min_size=1,
    max_size=20,
)


def a_block(points: list[tuple[int, int, float, int, Any]], *, has_contexts: bool) -> Block:
    objects = {}
    numbers = []
    for at, (series_id, _, number, _, value) in enumerate(points):
        if value is not None or series_id == 3:
            objects[at] = "text" if value is None else value
            numbers.append(float("nan"))
        else:
            numbers.append(float(number > 0) if series_id == 2 else number)
    return Block(
        np.array([p[0] for p in points], np.int32),
        np.array([p[1] for p in points], np.int64),
        np.array(numbers),
        np.array([p[3] for p in points], np.int32) if has_contexts else None,
        CONTEXTS if has_contexts else [],
        objects,
    )


def expected(block: Block, row: int) -> dict[str, Any]:
    name = NAMES[int(block.series_ids[row])]
    at = datetime(1970, 1, 1) + timedelta(microseconds=int(block.times_us[row]))
    value = block.objects.get(row)
    if value is None:
        number = float(block.numbers[row])
        value = bool(number) if name.kind == Kind.BOOLEAN else number
    context = {}
    if block.context_of is not None and block.context_of[row] >= 0:
        context = json.loads(block.contexts[int(block.context_of[row])])
    return {
        "timestamp": at.isoformat() + "Z",
        "device_id": name.device_id,
        "metric_name": name.metric_name,
        "value": value,
        "unit": name.unit,
    } | context


@given(rows, st.booleans())
def test_every_row_reads_back_as_it_was(
    points: list[tuple[int, int, float, int, Any]], has_contexts: bool
) -> None:
    block = a_block(points, has_contexts=has_contexts)

    read = json.loads(points_json(block, NAMES))

    assert read == [expected(block, row) for row in range(len(block))]
    for point, row in zip(read, range(len(block)), strict=True):
        assert isinstance(point["value"], bool) == isinstance(expected(block, row)["value"], bool)


def test_whole_numbers_have_no_fraction() -> None:
    block = Block(
        np.full(6, 1, np.int32),
        np.arange(6),
        np.array([25.0, 0.0, -3.0, 10.5, 2.0**53, 1e300]),
    )

    text = points_json(block, NAMES)

    values = [point.split(b'"value":')[1].split(b",")[0] for point in text.split(b"},{")]
    assert values == [b"25", b"0", b"-3", b"10.5", b"9007199254740992", b"1e+300"]


def test_no_rows_are_an_empty_list() -> None:
    block = Block(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))

    assert points_json(block, NAMES) == b"[]"


def test_what_is_not_finite_is_null() -> None:
    block = Block(np.full(2, 1, np.int32), np.arange(2), np.array([np.inf, np.nan]))

    assert [p["value"] for p in json.loads(points_json(block, NAMES))] == [None, None]


@given(rows, st.booleans())
def test_the_text_of_a_row_does_not_depend_on_how_many_there_are(
    points: list[tuple[int, int, float, int, Any]], has_contexts: bool
) -> None:
    block = a_block(points, has_contexts=has_contexts)

    alone = [point_texts(block.take(np.array([row])), NAMES)[0] for row in range(len(block))]

    assert point_texts(block, NAMES) == alone
    assert b"[" + b",".join(alone) + b"]" == points_json(block, NAMES)
