"""A history by columns gives the alerts that it gives sample by sample."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.alerts import PairState, Sample, timeline
from daemon.domain.replay import replay
from daemon.domain.rules import Condition, NoData, Rule, RuleKind

S = 1_000_000
RULES = st.builds(
    lambda condition, window, count, hold, cooldown, after, band, no_data, auto: Rule(
        condition=condition, threshold=5.0, window_us=window * S, trigger_count=count,
        hold_us=hold * S, cooldown_us=cooldown * S, resolve_after_us=after * S,
        resolve_threshold=band, no_data=no_data, auto_resolve=auto,
    ),
    st.sampled_from(Condition), st.sampled_from([0, 5, 20]), st.integers(1, 3),
    st.sampled_from([0, 0, 4]), st.sampled_from([0, 10, 60]), st.sampled_from([1, 7, 30]),
    st.sampled_from([None, None, 4.0, 6.0]), st.sampled_from(NoData),
    st.sampled_from([True, True, False]),
)  # fmt: skip
VALUES = st.sampled_from([4.0, 4.5, 5.0, 5.5, 6.0, float("nan")])
HISTORIES = st.lists(st.tuples(st.integers(1, 12), VALUES), max_size=60)


@settings(max_examples=1_000, deadline=None)
@given(RULES, HISTORIES)
def test_by_columns_as_by_samples(rule: Rule, history: list[tuple[int, float]]) -> None:
    times = np.cumsum([gap for gap, _ in history]).astype(np.int64) * S
    numbers = np.array([value for _, value in history], np.float64)
    rows = zip(times.tolist(), numbers.tolist(), strict=True)
    samples = [Sample(t, v if v == v else None, t) for t, v in rows]

    state, found = replay(rule, times, numbers)

    expected_state, expected = timeline(rule, samples)
    assert repr(found) == repr(expected)
    assert repr(state) == repr(expected_state)


def test_nothing_has_no_alerts() -> None:
    empty = np.empty(0, np.int64), np.empty(0, np.float64)

    assert replay(Rule(), *empty) == (PairState(), [])


def test_an_absence_is_found_too() -> None:
    rule = Rule(kind=RuleKind.ABSENCE, expected_interval_us=10 * S, cooldown_us=0)
    times = np.array([0, 10, 100], np.int64) * S

    _, found = replay(rule, times, np.ones(3))

    assert [t.at_us for t in found] == [40 * S, 100 * S]
