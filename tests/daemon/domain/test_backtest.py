"""The candidates of a backtest: each combination of values, and never more than can be tried."""

from __future__ import annotations

import pytest

from daemon.domain.backtest import CANDIDATES_MAX, candidates
from daemon.domain.errors import Invalid


def test_each_combination_is_a_candidate() -> None:
    tried = candidates({"metric_name": "m"}, {"b": [1, 2], "a": [3]})

    assert tried == [
        ({"a": 3, "b": 1}, {"metric_name": "m", "a": 3, "b": 1}),
        ({"a": 3, "b": 2}, {"metric_name": "m", "a": 3, "b": 2}),
    ]
    assert candidates({"metric_name": "m"}, {}) == [({}, {"metric_name": "m"})]


@pytest.mark.parametrize("fields", [2, 8])
def test_too_many_are_refused_before_they_are_made(fields: int) -> None:
    """Ten thousand million million of them once took all the memory of the host."""
    settings = {f"field_{at}": list(range(CANDIDATES_MAX)) for at in range(fields)}

    with pytest.raises(Invalid) as refused:
        candidates({}, settings)
    assert refused.value.error_code == "too_many_candidates"
    assert str(CANDIDATES_MAX**fields) in refused.value.detail
