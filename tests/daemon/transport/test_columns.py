from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import Invalid, Malformed
from daemon.domain.points import Draft
from daemon.transport.columns import decode_columns
from daemon.transport.numbers import read_floats, read_integers

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.decimals(-100, 100, places=2).map(str).map(msgspec.Raw),
    st.integers(0, 999).map(lambda n: msgspec.Raw(f"{n // 100}.{n % 100:02}")),
)


def raws(columns: list[list[Any]]) -> list[msgspec.Raw]:
    return [msgspec.Raw(msgspec.json.encode(column)) for column in columns]


def draft_of(body: str) -> Draft:
    ((_, draft),) = decode_columns(body.encode()).drafts
    return draft


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=20), min_size=1, max_size=5))
def test_floats_are_what_the_json_decoder_reads(columns: list[list[Any]]) -> None:
    arrays = raws(columns)

    found = read_floats(arrays)

    expected = [msgspec.json.decode(array, type=list[float]) for array in arrays]
    assert found is not None
    assert found.numbers.tolist() == [number for column in expected for number in column]
    assert found.counts == [len(column) for column in expected]


@given(st.integers(1, 9), st.integers(0, 6), st.booleans(), st.data())
def test_numbers_of_one_width_are_exact(
    whole: int, decimals: int, is_negative: bool, data: st.DataObject
) -> None:
    low, high = 10 ** (whole - 1) if whole > 1 else 0, 10**whole - 1
    texts = [
        f"{'-' if is_negative else ''}{data.draw(st.integers(low, high))}"
        + (f".{data.draw(st.integers(0, 10**decimals - 1)):0{decimals}}" if decimals else "")
        for _ in range(5)
    ]
    found = read_floats([msgspec.Raw(f"[{', '.join(texts)}]")])

    assert found is not None
    assert found.numbers.tolist() == [float(text) for text in texts]


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), min_size=1, max_size=4))
def test_integers_keep_every_digit(columns: list[list[int]]) -> None:
    found = read_integers(raws(columns))

    assert found is not None
    assert found.numbers.tolist() == [number for column in columns for number in column]
    assert found.counts == [len(column) for column in columns]


@pytest.mark.parametrize(
    "arrays",
    [
        ["[]"], ["[1]", "[]"], ["[]", "[1]"], ["[ ]"], ["1"], ['"1,2"'], ["null"], ["{}"],
        ["[1]", '"2"'], ["[1]", "2", "[3]"], ["[[1]]"], ["[[1],[2]]"], ["[[1]]", "[2]"],
        ["[true]"], ["[1,null]"], ['["1"]'], ['[1,"2,3"]'], ["[1,{}]"],
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_left_to_others(arrays: list[str]) -> None:
    assert read_floats([msgspec.Raw(array) for array in arrays]) is None
    assert read_integers([msgspec.Raw(array) for array in arrays]) is None


@pytest.mark.parametrize("array", ["[1.5]", "[1e3]", "[9223372036854775808]"])
def test_stamps_that_are_no_integers_are_left_to_others(array: str) -> None:
    assert read_integers([msgspec.Raw(array)]) is None


def test_columns_may_share_their_stamps_or_not() -> None:
    draft = draft_of(
        '{"series":['
        '{"device_id":"a","metric_name":"x","timestamps":[10,20],"values":[1.5,2.5]},'
        '{"device_id":"a","metric_name":"y","timestamps":[10,20],"values":[3,4],"unit":"m"},'
        '{"device_id":"b","metric_name":"x","timestamps":[1700000000000],"values":[5]},'
        '{"device_id":"b","metric_name":"y","timestamps":[10,20],"values":[6,7],"unit":"m"}]}'
    )

    assert draft.devices == ["a", "a", "b", "b"]
    assert draft.metrics == ["x", "y", "x", "y"]
    assert draft.key_of.tolist() == [0, 0, 1, 1, 2, 3, 3]
    seconds = [10, 20, 10, 20, 1_700_000_000, 10, 20]
    assert (draft.times_us // 1_000_000).tolist() == seconds
    assert draft.numbers.tolist() == [1.5, 2.5, 3, 4, 5, 6, 7]
    assert draft.contexts == [b'{"unit":"m"}']
    assert draft.context_of is not None
    assert draft.context_of.tolist() == [-1, -1, 0, 0, -1, 0, 0]


def test_columns_that_all_share_their_stamps_are_in_order() -> None:
    column = '{"device_id":"a","metric_name":"%s","timestamps":[1, 2],"values":[10, 20]}'
    draft = draft_of('{"series":[' + ",".join(column % name for name in "xyz") + "]}")

    assert (draft.times_us // 1_000_000).tolist() == [1, 2] * 3
    assert draft.numbers.tolist() == [10, 20] * 3


@pytest.mark.parametrize(
    "unequal", ['"timestamps":[1],"values":[1,2]', '"timestamps":[],"values":[1]']
)
def test_columns_of_unequal_length_are_refused(unequal: str) -> None:
    with pytest.raises(Invalid, match="one length"):
        decode_columns(b'{"series":[{"device_id":"a","metric_name":"x",%s}]}' % unequal.encode())


@pytest.mark.parametrize("values", ["[1,]", "[01]", "[1 2]", "[1", "[NaN]"])
def test_broken_numbers_are_no_json(values: str) -> None:
    with pytest.raises(Malformed):
        decode_columns(
            b'{"series":[{"device_id":"a","metric_name":"x","timestamps":[1],"values":%s}]}'
            % values.encode()
        )


def test_integers_beyond_the_exact_ones_are_refused_and_others_stay() -> None:
    draft = draft_of(
        '{"series":[{"device_id":"a","metric_name":"x","timestamps":[1,2],'
        '"values":[9007199254740993,5]}]}'
    )

    assert [refusal.row for refusal in draft.refusals] == [0]
    assert np.isnan(draft.numbers[0])
    assert draft.numbers[1] == 5
