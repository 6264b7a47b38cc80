"""Aggregates equal what a naive computation over lists says."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.aggregates import (
    FOLDING,
    POOLED,
    Aggregated,
    Aggregation,
    aggregate,
    finish,
    fold,
    join,
    parts_of,
)
from daemon.domain.block import Block
from daemon.domain.merge import merge

BUCKET_US = 10
Samples = list[tuple[int, float | None]]
Rows = list[tuple[int, int, float | None]]

values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5).map(float))
rows = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 40), values), min_size=1, max_size=40)


def a_block(points: Rows) -> Block:
    numbers = [math.nan if value is None else value for _, _, value in points]
    return merge(
        [
            Block(
                np.array([p[0] for p in points], np.int32),
                np.array([p[1] for p in points], np.int64),
                np.array(numbers),
                objects={at: "text" for at, p in enumerate(points) if p[2] is None},
            )
        ]
    )


def percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    rank = (len(ordered) - 1) * share
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def delta(samples: list[tuple[int, float]]) -> float:
    lost = sum(a for (_, a), (_, b) in pairwise(samples) if b < a)
    return samples[-1][1] - samples[0][1] + lost


OF_NUMBERS: dict[Aggregation, Callable[[list[float]], float]] = {
    Aggregation.AVG: statistics.fmean,
    Aggregation.MIN: min,
    Aggregation.MAX: max,
    Aggregation.SUM: math.fsum,
    Aggregation.MEDIAN: statistics.median,
    Aggregation.P95: lambda plain: percentile(plain, 0.95),
    Aggregation.P99: lambda plain: percentile(plain, 0.99),
    Aggregation.FIRST: lambda plain: plain[0],
    Aggregation.LAST: lambda plain: plain[-1],
}


def naive(samples: Samples, aggregation: Aggregation) -> float | None:
    numbers = [(at, value) for at, value in samples if value is not None]
    plain = [value for _, value in numbers]
    if aggregation == Aggregation.COUNT:
        return float(len(samples))
    if not plain:
        return None
    if aggregation == Aggregation.RATE:
        span_s = (numbers[-1][0] - numbers[0][0]) / 1e6
        return delta(numbers) / span_s if span_s else None
    if aggregation == Aggregation.DELTA:
        return delta(numbers)
    return OF_NUMBERS[aggregation](plain)


def expected(block: Block, aggregation: Aggregation) -> dict[tuple[int, int], float]:
    groups: dict[tuple[int, int], Samples] = defaultdict(list)
    columns = zip(
        block.series_ids.tolist(), block.times_us.tolist(), block.numbers.tolist(), strict=True
    )
    for series_id, at, number in columns:
        sample = (at, None if math.isnan(number) else number)
        groups[(series_id, at // BUCKET_US)].append(sample)
    found = {key: naive(samples, aggregation) for key, samples in groups.items()}
    return {key: value for key, value in found.items() if value is not None}


def pooled(block: Block, aggregation: Aggregation) -> dict[int, float]:
    if aggregation in (Aggregation.DELTA, Aggregation.RATE):
        added: dict[int, float] = defaultdict(float)
        for (_, bucket), value in expected(block, aggregation).items():
            added[bucket] += value
        return added
    order = np.lexsort((block.series_ids, block.times_us))
    whole = block.take(order)
    ids = np.zeros(len(whole), np.int32)
    one = Block(ids, whole.times_us, whole.numbers, objects=whole.objects)
    return {bucket: value for (_, bucket), value in expected(one, aggregation).items()}


def as_dict(result: Aggregated) -> dict[tuple[int, int], float]:
    keys = zip(result.series_ids.tolist(), result.buckets.tolist(), strict=True)
    return dict(zip(keys, result.values.tolist(), strict=True))


@pytest.mark.parametrize("aggregation", list(Aggregation))
@given(rows)
def test_each_aggregation_equals_the_naive_one(aggregation: Aggregation, points: Rows) -> None:
    block = a_block(points)

    found = aggregate(block, block.times_us // BUCKET_US, aggregation=aggregation)

    wanted = expected(block, aggregation)
    assert list(as_dict(found)) == sorted(wanted)
    assert as_dict(found) == pytest.approx(wanted, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("aggregation", list(Aggregation))
@given(rows)
def test_samples_of_several_series_are_pooled(aggregation: Aggregation, points: Rows) -> None:
    block = a_block(points)

    found = aggregate(block, block.times_us // BUCKET_US, aggregation=aggregation, is_pooled=True)

    wanted = {(POOLED, b): v for b, v in pooled(block, aggregation).items()}
    assert list(as_dict(found)) == sorted(wanted)
    assert as_dict(found) == pytest.approx(wanted, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("aggregation", sorted(FOLDING))
@given(rows)
def test_parts_fold_to_the_same_as_the_points(aggregation: Aggregation, points: Rows) -> None:
    block = a_block(points)
    is_early = block.times_us % 4 < 2
    pieces = [block.take(np.flatnonzero(is_early)), block.take(np.flatnonzero(~is_early))]

    parts = join([parts_of(p, p.times_us // 2) for p in pieces if len(p)])
    found = finish(fold(parts.with_cells(parts.cells // (BUCKET_US // 2))), aggregation)

    wanted = expected(block, aggregation)
    assert as_dict(found) == pytest.approx(wanted, rel=1e-9, abs=1e-6)


def test_a_counter_that_was_reset_loses_nothing() -> None:
    block = a_block([(1, 0, 90.0), (1, 1, 100.0), (1, 2, 5.0), (1, 3, 25.0)])

    found = aggregate(block, block.times_us // BUCKET_US, aggregation=Aggregation.DELTA)

    assert found.values.tolist() == [35.0]


def test_a_percentile_of_huge_numbers_stays_finite() -> None:
    block = a_block([(1, 0, -1.7e308), (1, 1, 1.7e308)])

    found = aggregate(block, block.times_us // BUCKET_US, aggregation=Aggregation.MEDIAN)

    assert found.values.tolist() == [0.0]
