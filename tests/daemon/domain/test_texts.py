"""Texts of columns equal those of one value at a time."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.texts import number_texts, time_texts

EPOCH = datetime(1970, 1, 1)  # UTC
instants = st.integers(0, 4) | st.integers(1_766_059_200, 1_766_059_203) | st.just(-1)
steps = st.sampled_from([1, 1_000_000])
runs = st.lists(st.tuples(instants, steps, st.integers(1, 9)), min_size=1, max_size=12)


@given(found=runs)
def test_a_time_reads_the_same_alone_and_repeated(found: list[tuple[int, int, int]]) -> None:
    times_us = [instant * step for instant, step, count in found for _ in range(count)]

    texts = time_texts(np.array(times_us, np.int64))

    expected = [(EPOCH + timedelta(microseconds=at)).isoformat() + "Z" for at in times_us]
    assert [text.decode() for text in texts] == expected


some = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(10**17), 10**17).map(float)
nothing = st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 1e16, 1e300])


@given(found=st.lists(some | nothing) | st.lists(integers | nothing))
def test_numbers_read_the_same_with_few_integers_and_with_many(found: list[float]) -> None:
    texts = number_texts(np.array(found, np.float64))

    expected = [orjson.dumps(number).removesuffix(b".0") for number in found]
    assert texts == expected
