"""Why a rule fires or not: each cause in the numbers of its kind, and when it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.domain.alerts import OpenAlert, Sample
from daemon.domain.explanation import Asked, Explanation, duration, explain_rule, summary_of
from daemon.domain.rules import Rule, RuleKind

S = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNTED = Rule(threshold=90.0, window_us=300 * S, trigger_count=3, cooldown_us=900 * S)


def explained(rule: Rule, values: list[tuple[int, Any]], *, at_s: int, **known: Any) -> Explanation:
    samples = [Sample(t * S, value, t * S) for t, value in values]
    return explain_rule(Asked(rule=rule, at_us=at_s * S, samples=samples, **known))


def codes(found: Explanation) -> list[str]:
    return [cause.code for cause in found.causes]


def at(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def test_too_few_breaches_in_the_window() -> None:
    found = explained(COUNTED, [(0, 95.0), (200, 95.0), (400, 95.0)], at_s=1_120, late=41)

    assert codes(found) == ["too_few_breaches"]
    assert summary_of(found) == (
        "2 of 3 breaches in 300 s; newest sample 12 min old; "
        "41 samples arrived too late to count; 1 more are needed"
    )
    assert [sample["is_breach"] for sample in found.samples] == [True, True]


def test_no_breach() -> None:
    assert codes(explained(COUNTED, [(0, 1.0)], at_s=1)) == ["no_breach"]


def test_enough_breaches_fire() -> None:
    found = explained(COUNTED, [(0, 95.0), (1, 95.0), (2, 95.0)], at_s=2)

    assert codes(found) == []


def test_a_cooldown_says_when_it_ends() -> None:
    samples = [(1_000, 95.0), (1_001, 95.0), (1_002, 95.0)]
    found = explained(COUNTED, samples, at_s=1_003, last_fired_us=200 * S)

    assert codes(found) == ["cooldown"]
    assert found.causes[0].until == at(1_100)


def test_a_hold_time_says_when_it_is_reached() -> None:
    rule = Rule(threshold=90.0, hold_us=60 * S)
    found = explained(rule, [(0, 95.0), (30, 95.0)], at_s=30)

    assert codes(found) == ["not_held"]
    assert found.causes[0].until == at(60)


def test_an_open_alert_is_not_fired_again() -> None:
    opened = OpenAlert(2 * S, 2 * S)
    samples = [(0, 95.0), (1, 95.0), (2, 95.0)]
    found = explained(COUNTED, samples, at_s=2, opened=opened, last_fired_us=2 * S)

    assert codes(found) == ["open_already"]


def test_silence_that_is_allowed_says_until_when() -> None:
    rule = Rule(kind=RuleKind.ABSENCE, expected_interval_us=10 * S, cooldown_us=0)
    found = explained(rule, [(0, 1.0), (10, 1.0)], at_s=30)

    assert codes(found) == ["not_silent"]
    assert found.causes[0].until == at(40)
    assert codes(explained(rule, [(0, 1.0), (10, 1.0)], at_s=41)) == []


def test_a_new_device_warms_up() -> None:
    rule = Rule(kind=RuleKind.ABSENCE, cooldown_us=0)

    assert codes(explained(rule, [(0, 1.0), (10, 1.0)], at_s=500)) == ["warming_up"]


def test_another_transition_than_the_wanted() -> None:
    rule = Rule(kind=RuleKind.TRANSITION, from_value="occupied", to_value="free", cooldown_us=0)

    assert codes(explained(rule, [(0, "free"), (1, "occupied")], at_s=1)) == ["no_transition"]
    assert codes(explained(rule, [(0, "occupied"), (1, "free")], at_s=1)) == []


def test_without_samples_there_is_nothing_to_judge() -> None:
    assert codes(explained(COUNTED, [], at_s=1)) == ["no_samples"]


def test_durations_are_as_people_say_them() -> None:
    said = [duration(s * S) for s in (0, 5, 300, 720, 7_200, 172_800)]

    assert said == ["0 s", "5 s", "300 s", "12 min", "2 h", "2 d"]
