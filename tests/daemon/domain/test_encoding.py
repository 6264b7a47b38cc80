"""Chunks give back every point as it was, bit for bit, whatever the values and gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.domain.chunk import CHUNK_JSON_BYTES_MAX, CHUNK_POINTS_MAX, DAY_US, Chunk, decode
from daemon.domain.encoding import encode
from daemon.domain.merge import merge

MIDNIGHT = 1_763_596_800_000_000

doubles = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.integers(-(10**7), 10**7).map(lambda n: n / 100)
values = (
    doubles
    | decimals
    | st.text(max_size=5)
    | st.booleans()
    | st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=2)
)
contexts = st.sampled_from([None, b'{"unit":"c"}', b'{"tags":{"a":"b"}}', b'{"unit":"\xc3\xa4"}'])
points = st.tuples(
    st.integers(1, 3),
    st.integers(0, 40).map(lambda n: n * 10_000_000)
    | st.integers(-2 * DAY_US, 2 * DAY_US)
    | st.integers(0, 10),
    values,
    contexts,
)


def a_block(rows: list[tuple[int, int, Any, bytes | None]]) -> Block:
    """Sorted, each key once."""
    index: dict[bytes, int] = {}
    return merge(
        [
            Block(
                np.array([row[0] for row in rows], np.int32),
                np.array([MIDNIGHT + row[1] for row in rows], np.int64),
                np.array([row[2] if isinstance(row[2], float) else np.nan for row in rows]),
                np.array(
                    [
                        -1 if row[3] is None else index.setdefault(row[3], len(index))
                        for row in rows
                    ],
                    np.int32,
                ),
                list(index),
                {at: row[2] for at, row in enumerate(rows) if not isinstance(row[2], float)},
            )
        ]
    )


def numeric(numbers: Any, *, step_us: int = 10_000_000, start_us: int = MIDNIGHT) -> Block:
    n = len(numbers)
    times = start_us + np.arange(n, dtype=np.int64) * step_us
    return Block(np.ones(n, np.int32), times, np.asarray(numbers, np.float64))


def assert_same(block: Block, other: Block) -> None:
    np.testing.assert_array_equal(block.series_ids, other.series_ids)
    np.testing.assert_array_equal(block.times_us, other.times_us)
    # As bits, so that -0.0 is not taken for 0.0.
    np.testing.assert_array_equal(block.numbers.view(np.int64), other.numbers.view(np.int64))
    assert block.objects == other.objects
    assert context_texts(block) == context_texts(other)


def context_texts(block: Block) -> list[bytes | None]:
    if block.context_of is None:
        return [None] * len(block)
    return [None if at < 0 else block.contexts[at] for at in block.context_of.tolist()]


def of_one_day(chunk: Chunk) -> bool:
    return chunk.start_us // DAY_US == chunk.end_us // DAY_US


@settings(max_examples=300, deadline=None)
@given(st.lists(points, min_size=1, max_size=30))
def test_every_point_comes_back_as_it_was(rows: list[tuple[int, int, Any, bytes | None]]) -> None:
    block = a_block(rows)

    chunks = encode(block)

    assert_same(decode(chunks), block)
    assert all(of_one_day(chunk) for chunk in chunks)


@settings(max_examples=200, deadline=None)
@given(st.lists(doubles | decimals | st.just(-0.0), min_size=1, max_size=50))
def test_any_double_comes_back_bit_for_bit(numbers: list[float]) -> None:
    block = numeric(numbers)

    assert_same(decode(encode(block)), block)


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        ([1.0, 2.0, 30_000.0], 1),
        ([20.5, 20.25, 20.1], 100),
        ([0.001, 0.002], 1_000),
        ([1.0, 40_000.0, 127.0, -128.0, 128.0], 1),
        ([1.0, 8_388_352.0], 1),
        ([1.0, 8_388_354.0], None),
        ([0.1 + 0.2, 0.5], None),
        ([-0.0, 1.0], None),
        ([1e300, 1.0], None),
        ([float(2**53), float(2**53 - 1)], 1),
    ],
)
def test_decimals_are_scaled_only_where_that_is_exact(
    numbers: list[float], scale: int | None
) -> None:
    (chunk,) = encode(numeric(numbers))

    assert chunk.scale == scale
    assert (chunk.numbers is None) == (scale is not None)


def test_regular_times_take_no_room() -> None:
    (chunk,) = encode(numeric(np.arange(100.0)))

    assert chunk.ticks is None
    assert chunk.tick_us == 10_000_000


def test_a_chunk_ends_at_midnight() -> None:
    block = numeric(np.arange(20.0), start_us=MIDNIGHT - 100_000_000)

    chunks = encode(block)

    assert [chunk.points for chunk in chunks] == [10, 10]
    assert chunks[1].start_us == MIDNIGHT


def test_a_gap_that_does_not_fit_begins_a_chunk() -> None:
    times = MIDNIGHT + np.array([0, 1, 3_000_000_000, 3_000_000_001], np.int64)
    block = Block(np.ones(4, np.int32), times, np.arange(4.0))

    chunks = encode(block)

    assert [chunk.points for chunk in chunks] == [2, 2]
    assert_same(decode(chunks), block)


def test_long_runs_are_cut_evenly() -> None:
    block = numeric(np.zeros(CHUNK_POINTS_MAX * 2 + 1), step_us=1_000_000)

    assert [chunk.points for chunk in encode(block)] == [13_333, 13_334, 13_334]


def test_large_values_are_cut_by_size() -> None:
    text = "x" * (CHUNK_JSON_BYTES_MAX // 4)
    block = a_block([(1, at, text, None) for at in range(10)])

    chunks = encode(block)

    assert [chunk.points for chunk in chunks] == [3, 3, 3, 1]
    assert_same(decode(chunks), block)


def test_large_contexts_are_cut_by_size() -> None:
    rows: list[tuple[int, int, Any, bytes | None]] = [
        (1, at, 1.0, b'{"n":"%d%s"}' % (at, b"x" * (CHUNK_JSON_BYTES_MAX // 4))) for at in range(8)
    ]
    block = a_block(rows)

    chunks = encode(block)

    assert [chunk.points for chunk in chunks] == [3, 3, 2]
    assert_same(decode(chunks), block)


def test_a_context_of_all_points_is_kept_once() -> None:
    block = a_block([(1, at, 1.0, b'{"unit":"c"}') for at in range(5)])

    (chunk,) = encode(block)

    assert (chunk.context_of, chunk.contexts) == (None, b'[{"unit":"c"}]')
