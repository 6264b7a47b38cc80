"""The words of a rule (contract 7.1), each as a sentence.

Whole timelines are held against an oracle that was written another way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from alert_oracle import episodes_of
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.alerts import (
    Change,
    Episode,
    PairState,
    Reason,
    Sample,
    Tick,
    Transition,
    is_idle,
    step,
    timeline,
)
from daemon.domain.late_samples import judge_late
from daemon.domain.rules import Condition, NoData, Rule, RuleKind, breaches, condition_key

S = 1_000_000
HOT = Rule(condition=Condition.ABOVE, threshold=90.0, cooldown_us=0)
SLOW = settings(max_examples=400, deadline=None)


def samples(*said: tuple[float, Any]) -> list[Sample]:
    """(seconds, value) pairs that arrive as they happen."""
    return [Sample(round(t * S), value, round(t * S)) for t, value in said]


def changes(rule: Rule, *said: tuple[float, Any]) -> list[tuple[str, float]]:
    """(change, seconds) of the timeline of these samples."""
    return [(t.to.value, t.at_us / S) for t in timeline(rule, samples(*said))[1]]


def episodes(transitions: list[Transition]) -> list[Episode]:
    found: list[Episode] = []
    for transition in transitions:
        if transition.to is Change.FIRED:
            found.append(Episode(transition.at_us, None))
        elif transition.to is Change.RESOLVED:
            found[-1] = replace(found[-1], resolved_us=transition.at_us)
    return found


class TestTrigger:
    def test_a_window_of_nothing_judges_the_sample_itself(self) -> None:
        assert changes(HOT, (0, 90.0), (1, 91.0)) == [("fired", 1)]

    def test_a_window_counts_breaches_after_its_start_up_to_the_sample(self) -> None:
        rule = replace(HOT, window_us=60 * S, trigger_count=3)

        assert changes(rule, (0, 95.0), (30, 95.0), (60, 95.0)) == []
        assert changes(rule, (1, 95.0), (30, 95.0), (60, 95.0)) == [("fired", 60)]

    def test_breaches_need_not_be_next_to_each_other(self) -> None:
        rule = replace(HOT, window_us=60 * S, trigger_count=2)

        assert changes(rule, (0, 95.0), (10, 1.0), (20, 95.0)) == [("fired", 20)]

    def test_a_hold_time_starts_anew_when_the_condition_breaks(self) -> None:
        rule = replace(HOT, hold_us=60 * S)

        assert changes(rule, (0, 95.0), (30, 1.0), (40, 95.0), (90, 95.0)) == []
        assert changes(rule, (0, 95.0), (30, 95.0), (60, 95.0)) == [("fired", 60)]

    def test_a_cooldown_counts_from_the_last_trigger_and_ends_with_the_next_sample(self) -> None:
        rule = replace(HOT, cooldown_us=900 * S, resolve_after_us=10 * S)
        hot = [(t, 95.0) for t in (0, 100, 899, 901)]

        assert changes(rule, *hot) == [("fired", 0), ("resolved", 10), ("fired", 901)]

    def test_values_that_compare_with_nothing_never_breach(self) -> None:
        assert not breaches(HOT, "hot")
        assert not breaches(replace(HOT, condition=Condition.UNEQUAL, threshold="on"), 5.0)
        assert breaches(replace(HOT, condition=Condition.EQUAL, threshold="on"), "on")


class TestResolve:
    def test_it_is_over_a_timeout_after_the_last_breach(self) -> None:
        said = [(0, 95.0), (100, 95.0), (200, 1.0), (401, 1.0)]

        assert changes(HOT, *said) == [("fired", 0), ("resolved", 400)]

    def test_a_breach_up_to_the_instant_extends_it(self) -> None:
        assert changes(HOT, (0, 95.0), (300, 95.0), (600, 95.0)) == [("fired", 0)]

    def test_one_sample_can_end_an_alert_and_raise_the_next(self) -> None:
        said = [(0, 95.0), (301, 95.0)]

        assert changes(HOT, *said) == [("fired", 0), ("resolved", 300), ("fired", 301)]

    def test_a_value_in_the_band_keeps_it_open_but_raises_none(self) -> None:
        rule = replace(HOT, resolve_threshold=80.0)

        assert changes(rule, (0, 85.0), (1, 95.0), (301, 85.0), (601, 79.0)) == [
            ("fired", 1),
            ("resolved", 601),
        ]

    def test_without_auto_resolve_it_stays(self) -> None:
        assert changes(replace(HOT, auto_resolve=False), (0, 95.0), (9999, 1.0)) == [("fired", 0)]


class TestSilence:
    def test_counts_as_calm_from_the_arrival_of_the_last_sample(self) -> None:
        late = Sample(0, 95.0, arrived_us=1000 * S)
        state, _ = step(PairState(), late, HOT)

        assert step(state, Tick(1300 * S), HOT)[1] == []
        [resolved] = step(state, Tick(1301 * S), HOT)[1]
        assert (resolved.to, resolved.at_us) == (Change.RESOLVED, 300 * S)
        assert resolved.reason is Reason.NO_DATA

    def test_a_calm_sample_before_the_instant_makes_it_cleared(self) -> None:
        state, _ = timeline(HOT, samples((0, 95.0), (100, 1.0)))

        [resolved] = step(state, Tick(301 * S), HOT)[1]

        assert resolved.reason is Reason.CLEARED

    def test_keep_leaves_it_open_and_stale_until_a_sample_comes(self) -> None:
        rule = replace(HOT, no_data=NoData.KEEP)
        state, _ = timeline(rule, samples((0, 95.0)))

        state, [stale] = step(state, Tick(301 * S), rule)
        _, back = step(state, Sample(400 * S, 1.0, 400 * S), rule)

        assert stale.to is Change.STALE
        assert [(t.to, t.at_us) for t in back] == [
            (Change.FRESH, 400 * S),
            (Change.RESOLVED, 400 * S),
        ]

    def test_alert_raises_one_that_ends_when_data_returns(self) -> None:
        rule = replace(HOT, no_data=NoData.ALERT, expected_interval_us=10 * S)
        state, _ = timeline(rule, samples((0, 1.0)))

        state, [fired] = step(state, Tick(31 * S), rule)
        _, [resolved] = step(state, Sample(50 * S, 1.0, 50 * S), rule)

        assert (fired.at_us, fired.reason) == (30 * S, Reason.ABSENT)
        assert (resolved.at_us, resolved.reason) == (50 * S, Reason.RETURNED)

    def test_an_untold_silence_is_found_by_the_next_sample(self) -> None:
        rule = Rule(kind=RuleKind.ABSENCE, expected_interval_us=10 * S, cooldown_us=0)

        assert changes(rule, (0, 1.0), (10, 1.0), (100, 1.0)) == [("fired", 40), ("resolved", 100)]

    def test_a_silence_that_outlasts_the_cooldown_fires_when_that_ends(self) -> None:
        rule = Rule(kind=RuleKind.ABSENCE, expected_interval_us=10 * S, cooldown_us=100 * S)

        assert changes(rule, (0, 1.0), (50, 1.0), (500, 1.0)) == [
            ("fired", 30), ("resolved", 50), ("fired", 130), ("resolved", 500),
        ]  # fmt: skip

    def test_absence_learns_the_cadence_and_new_devices_warm_up(self) -> None:
        rule = Rule(kind=RuleKind.ABSENCE, cooldown_us=0)
        young, _ = timeline(rule, samples(*((t, 1.0) for t in range(0, 50, 5))))
        old, _ = timeline(rule, samples(*((t, 1.0) for t in range(0, 100, 5))))

        assert step(young, Tick(10_000 * S), rule)[1] == []
        assert step(old, Tick(110 * S), rule)[1] == []
        assert [t.at_us for t in step(old, Tick(111 * S), rule)[1]] == [110 * S]


class TestTransition:
    RULE = Rule(kind=RuleKind.TRANSITION, from_value="occupied", to_value="free", cooldown_us=0)

    def test_fires_only_from_one_to_the_other(self) -> None:
        said = [(0, "free"), (1, "occupied"), (2, "occupied"), (3, "free"), (4, "free")]

        assert changes(self.RULE, *said) == [("fired", 3)]

    def test_nothing_stands_for_any_value(self) -> None:
        rule = replace(self.RULE, from_value=None)

        assert changes(rule, (0, "free"), (1, "broken"), (2, "free")) == [("fired", 2)]


class TestLate:
    RULE = replace(HOT, window_us=60 * S, trigger_count=3)

    def test_a_late_breach_completes_the_count_at_the_sample_where_it_was_due(self) -> None:
        state, _ = timeline(self.RULE, samples((0, 95.0), (30, 95.0), (50, 1.0)))
        stored = samples((0, 95.0), (10, 95.0), (30, 95.0), (50, 1.0))

        late = judge_late(state, self.RULE, stored, known=[])

        assert late.past == ()
        assert late.fired is not None
        assert late.fired.at_us == 30 * S
        assert late.state.open is not None

    def test_an_alert_that_was_over_unseen_is_told_as_past(self) -> None:
        state, _ = timeline(self.RULE, samples((0, 95.0), (30, 95.0), (900, 1.0)))
        stored = samples((0, 95.0), (10, 95.0), (30, 95.0), (900, 1.0))

        late = judge_late(state, self.RULE, stored, known=[])

        [past] = late.past
        assert (past.fired.at_us, past.resolved.at_us) == (30 * S, 330 * S)
        assert late.fired is None
        assert late.state.open is None

    def test_what_was_raised_is_not_raised_again(self) -> None:
        said = [(0, 95.0), (10, 95.0), (30, 95.0), (50, 1.0)]
        state, _ = timeline(self.RULE, samples(*said))
        stored = samples((0, 95.0), (10, 95.0), (20, 95.0), (30, 95.0), (50, 1.0))

        known = [Episode(30 * S, None)]
        late = judge_late(state, self.RULE, stored, known=known)

        assert (late.past, late.fired, late.closed) == ((), None, None)
        assert late.state.open == state.open

    def test_an_older_sample_is_refused_by_step(self) -> None:
        state, _ = timeline(HOT, samples((10, 1.0)))

        with pytest.raises(ValueError, match="not newer"):
            step(state, Sample(5 * S, 95.0, 0), HOT)


def test_an_edit_that_does_not_decide_keeps_the_key() -> None:
    assert condition_key("cpu", HOT) == condition_key("cpu", replace(HOT, cooldown_us=5))
    assert condition_key("cpu", HOT) != condition_key("cpu", replace(HOT, threshold=91.0))


RULES = st.builds(
    lambda condition, window, count, hold, cooldown, after, band: Rule(
        condition=condition, threshold=5.0, window_us=window * S, trigger_count=count,
        hold_us=hold * S, cooldown_us=cooldown * S, resolve_after_us=after * S,
        resolve_threshold=band,
    ),
    st.sampled_from(Condition), st.sampled_from([0, 5, 20]), st.integers(1, 3),
    st.sampled_from([0, 0, 4]), st.sampled_from([0, 10, 60]), st.sampled_from([1, 7, 30]),
    st.sampled_from([None, None, 4.0]),
)  # fmt: skip
HISTORIES = st.lists(st.tuples(st.integers(1, 12), st.sampled_from([4.0, 4.5, 5.0, 5.5, 6.0])))


@SLOW
@given(RULES, HISTORIES)
def test_timelines_agree_with_the_oracle(rule: Rule, gaps: list[tuple[int, float]]) -> None:
    if rule.condition in (Condition.BELOW, Condition.AT_MOST):
        rule = replace(rule, resolve_threshold=rule.resolve_threshold and 6.0)
    at, history = 0, []
    for gap, value in gaps:
        at += gap
        history.append((float(at), value))

    _, transitions = timeline(rule, samples(*history))

    assert episodes(transitions) == episodes_of(rule, samples(*history))


@SLOW
@given(RULES, HISTORIES)
def test_a_calm_sample_changes_nothing_of_an_idle_pair(
    rule: Rule, gaps: list[tuple[int, float]]
) -> None:
    state, at = PairState(), 0
    for gap, value in gaps:
        at += gap * S
        was_idle = is_idle(state, rule, at_us=at)
        calm = not breaches(rule, value)
        after, transitions = step(state, Sample(at, value, at), rule)

        if was_idle and calm:
            assert transitions == []
            assert replace(state, newest_us=at, arrived_us=at, value=value) == replace(
                after, breach_times_us=state.breach_times_us
            )
        state = after
