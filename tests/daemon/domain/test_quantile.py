"""A quantile of counts by bucket."""

from __future__ import annotations

import pytest

from daemon.domain.figures import quantile

BOUNDS = (0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.95, 0.0),
        ([100, 0, 0, 0], 0.5, 0.05),
        ([90, 10, 0, 0], 0.95, 0.15),
        ([0, 0, 10, 0], 1.0, 0.4),
        ([0, 0, 0, 5], 0.95, 0.4),
    ],
)
def test_it_lies_where_so_many_are_below(counts: list[int], share: float, expected: float) -> None:
    assert quantile(BOUNDS, counts, share) == pytest.approx(expected)
