"""Distinct values of a column and which of them each row has, whether they lie close or far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.spread import coded, spread

far = st.integers(-(2**31), 2**31 - 1)
near = st.integers(1_000_000, 1_000_010)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@given(values=st.lists(near, min_size=1) | st.lists(far, min_size=1))
def test_each_row_gets_its_own_value_back(kind: type[np.signedinteger], values: list[int]) -> None:
    distinct, codes = coded(np.array(values, kind))

    assert distinct == sorted(set(values))
    assert [distinct[code] for code in codes.tolist()] == values


@pytest.mark.parametrize("values", [[7, 7], [9, 7, 9], [1, 2**40, 1]])
def test_each_row_gets_the_text_of_its_value(values: list[int]) -> None:
    distinct, codes = coded(np.array(values))

    texts = spread([b"%d" % value for value in distinct], codes)

    assert texts == [b"%d" % value for value in values]


def test_rows_whose_values_have_one_text_all_get_it() -> None:
    assert spread([b"same", b"same"], np.array([1, 0, 1])) == [b"same"] * 3
