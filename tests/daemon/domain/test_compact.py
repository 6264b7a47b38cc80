from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daemon.domain import compact
from daemon.domain.block import COMPACT_POINTS_MIN, Block, pack, unpack

BASE_US = 1_763_000_000_000_000
INT32S = st.integers(-(2**31), 2**31 - 1)
INT64S = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.one_of(
    st.floats(),
    st.integers(-(10**6), 10**6).map(lambda number: number / 100),
    st.sampled_from([0.0, -0.0, 1e300, 5e-324, 2.0**53, 0.1 + 0.2]),
)


def column(elements: st.SearchStrategy[Any], kind: type[np.generic]) -> st.SearchStrategy[Any]:
    return arrays.arrays(kind, st.integers(1, 300), elements=elements)


def read_back(packed: compact.Packed, count: int) -> Any:
    form, parts = packed
    body = b"before" + b"".join(parts) + b"after"
    found, end = compact.unpack(form, body, 6, count)
    assert body[end:] == b"after"
    return found


@given(column(st.one_of(INT32S, st.integers(0, 3)), np.int32))
def test_ids_come_back(ids: Any) -> None:
    assert read_back(compact.pack_ids(ids), len(ids)).tolist() == ids.tolist()


@given(column(st.one_of(INT64S, st.integers(0, 9).map(lambda s: BASE_US + s * 10**6)), np.int64))
def test_times_come_back(times_us: Any) -> None:
    assert read_back(compact.pack_times(times_us), len(times_us)).tolist() == times_us.tolist()


@given(column(FLOATS, np.float64))
def test_numbers_come_back_bit_by_bit(numbers: Any) -> None:
    found = read_back(compact.pack_numbers(numbers), len(numbers))

    assert found.dtype == np.float64
    assert found.tobytes() == numbers.tobytes()


def test_columns_of_a_calm_fleet_take_few_bytes() -> None:
    series_ids = np.repeat(np.arange(70_000, 70_010, dtype=np.int32), 100)
    times_us = np.tile(BASE_US + np.arange(100, dtype=np.int64) * 1_000_000, 10)
    numbers = np.round(np.linspace(10, 99, 1000), 2)

    forms = [
        compact.pack_ids(series_ids)[0],
        compact.pack_times(times_us)[0],
        compact.pack_numbers(numbers)[0],
    ]

    assert forms == [
        ["runs", "<i4", 10],
        ["ticks", "|u1", BASE_US, 1_000_000],
        ["scaled", "<i2", 100],
    ]


@pytest.mark.parametrize("n", [1, COMPACT_POINTS_MIN - 1, COMPACT_POINTS_MIN, 5_000])
@pytest.mark.parametrize("has_contexts", [True, False])
def test_a_block_comes_back_from_its_bytes(n: int, has_contexts: bool) -> None:
    random = np.random.default_rng(n)
    numbers = random.normal(size=n).round(2)
    numbers[0] = np.nan
    block = Block(
        random.integers(1, 100_000, n).astype(np.int32),
        BASE_US + random.integers(0, 10**9, n),
        numbers,
        random.integers(-1, 2, n).astype(np.int32) if has_contexts else None,
        [b'{"unit":"m"}', b'{"unit":"s"}'] if has_contexts else [],
        {0: {"lat": 1.5}},
    )

    found = unpack(pack(block))

    for name in ("series_ids", "times_us", "numbers", "context_of"):
        expected, got = getattr(block, name), getattr(found, name)
        if expected is None:
            assert got is None
        else:
            assert got.dtype == expected.dtype
            assert got.tobytes() == expected.tobytes()
    assert (found.contexts, found.objects) == (block.contexts, block.objects)


def test_bytes_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="magic"):
        unpack(b"TLB9" + bytes(8))
    with pytest.raises(ValueError, match="form"):
        compact.unpack(["odd", "|u1"], bytes(4), 0, 4)
