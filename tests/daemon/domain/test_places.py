"""Rows come out by place, whether their places lie close together or far apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.places import order_of

close = st.sets(st.integers(0, 30))
far = st.sets(st.integers(0, 10**6 - 1))


@given(places=(close | far).map(list).flatmap(st.permutations))
def test_rows_come_out_by_place(places: list[int]) -> None:
    size = 31 if max(places, default=0) <= 30 else 10**6

    order = order_of(np.array(places, np.int64), size=size)

    assert [places[row] for row in order.tolist()] == sorted(places)
