"""Lint against a naive oracle: every value that a definition allows is tried."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.lint import Facts, Severity, lint
from daemon.domain.rule_request import AlertRule, engine_rule, new_rule
from daemon.domain.rules import Condition, breaches

NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)
KNOWN = {"is_defined": True, "is_sent": True, "devices": 1}


def a_rule(**fields: Any) -> AlertRule:
    plain = {"name": "hot", "metric_name": "heat", "condition": ">", "threshold_value": 30}
    return new_rule(plain | fields, rule_id="rul_1", now=NOON, by="key_1")


def codes(rule: AlertRule, **facts: Any) -> list[str]:
    return [finding.code for finding in lint(rule, Facts(**(KNOWN | facts)))]


whole = st.integers(-4, 4)


@given(low=whole, width=st.integers(0, 4), threshold=whole, condition=st.sampled_from(Condition))
def test_bounds_are_judged_as_if_every_value_between_them_were_tried(
    low: int, width: int, threshold: int, condition: Condition
) -> None:
    high = low + width
    rule = a_rule(condition=condition, threshold_value=threshold)
    quarters = [low + n / 4 for n in range(width * 4 + 1)]
    found = {breaches(engine_rule(rule), value) for value in quarters}
    expected = {frozenset({True}): ["always_true"], frozenset({False}): ["never_true"]}

    said = codes(rule, data_type="numeric", min_value=float(low), max_value=float(high))

    assert said == expected.get(frozenset(found), [])


@given(
    allowed=st.lists(st.sampled_from(["open", "shut", "ajar"]), min_size=1, unique=True),
    threshold=st.sampled_from(["open", "gone"]),
    condition=st.sampled_from([Condition.EQUAL, Condition.UNEQUAL]),
)
def test_allowed_values_are_tried_one_by_one(
    allowed: list[str], threshold: str, condition: Condition
) -> None:
    found = {(value == threshold) == (condition is Condition.EQUAL) for value in allowed}
    expected = [] if len(found) > 1 else ["always_true" if found.pop() else "never_true"]
    rule = a_rule(condition=condition, threshold_value=threshold)

    assert codes(rule, data_type="string", allowed_values=allowed) == expected


@pytest.mark.parametrize(
    ("data_type", "threshold", "expected"),
    [
        ("numeric", "hot", ["never_true"]),
        ("string", 30, ["never_true"]),
        ("string", "hot", []),
        ("boolean", True, []),
        ("boolean", 1, []),
        ("json", 30, ["never_true"]),
        (None, "hot", []),
    ],
)
def test_a_threshold_of_another_type_is_never_reached(
    data_type: str | None, threshold: Any, expected: list[str]
) -> None:
    assert codes(a_rule(condition="==", threshold_value=threshold), data_type=data_type) == expected


def test_what_is_only_seen_may_change_so_it_is_no_error() -> None:
    rule = a_rule(condition="==", threshold_value="hot")

    (said,) = lint(rule, Facts(is_sent=True, devices=1, data_type="numeric"))

    assert (said.code, said.severity) == ("never_true", Severity.WARNING)


def test_a_metric_that_nobody_knows_is_an_error_one_that_nobody_sent_a_warning() -> None:
    unknown = lint(a_rule(), Facts())
    unsent = lint(a_rule(), Facts(is_defined=True))

    assert [(f.code, f.severity) for f in unknown] == [("unknown_metric", Severity.ERROR)]
    assert [(f.code, f.severity) for f in unsent] == [("unknown_metric", Severity.WARNING)]


def test_a_rule_without_a_device_is_found() -> None:
    assert codes(a_rule(), devices=0) == ["no_device"]
    assert codes(a_rule(device_ids=["a", "b"]), strangers=["b"]) == ["no_device"]


def test_a_channel_that_fails_is_found() -> None:
    rule = a_rule(notification_channels=["ops", "pager", "gone"])

    said = lint(rule, Facts(**KNOWN, channels={"ops": False, "pager": True}))  # type: ignore[arg-type]

    assert [(f.code, f.severity) for f in said] == [
        ("unknown_channel", Severity.ERROR),
        ("failing_channel", Severity.WARNING),
    ]


@pytest.mark.parametrize(
    ("minutes", "timeout", "expected"),
    [
        (15, 300, []),
        (15, 60, ["cooldown_longer_than_resolve"]),
        (5, 300, []),
        (5.1, 300, ["cooldown_longer_than_resolve"]),
    ],
)
def test_a_cooldown_is_held_against_the_time_to_resolve(
    minutes: float, timeout: float, expected: list[str]
) -> None:
    rule = a_rule(cooldown_minutes=minutes, auto_resolve_timeout=timeout)

    assert codes(rule) == expected


@pytest.mark.parametrize(
    ("window", "count", "cadence", "expected"),
    [
        (0, 1, 60, []),
        (30, 1, 60, ["window_shorter_than_cadence"]),
        (60, 2, 60, []),
        (119, 3, 60, ["window_shorter_than_cadence"]),
        (119, 3, None, []),
    ],
)
def test_a_window_is_held_against_the_cadence(
    window: float, count: int, cadence: float | None, expected: list[str]
) -> None:
    rule = a_rule(evaluation_window=window, trigger_count=count)

    assert codes(rule, cadence_s=cadence) == expected


def test_the_gravest_comes_first() -> None:
    rule = a_rule(trigger_count=2, cooldown_minutes=60, notification_channels=["gone"])

    said = [finding.severity for finding in lint(rule, Facts(**KNOWN, twins=["other"]))]  # type: ignore[arg-type]

    assert said == [Severity.ERROR, Severity.ERROR, Severity.WARNING, Severity.WARNING]
