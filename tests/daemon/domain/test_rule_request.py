"""What a request says of a rule: its meaning for the engine, and which edits end open alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.domain.errors import Invalid
from daemon.domain.rule_request import (
    AlertRule,
    Ending,
    changed_rule,
    ending,
    engine_rule,
    new_rule,
    shown,
)
from daemon.domain.rules import NoData, RuleKind

NOON = datetime(2025, 12, 18, 12, tzinfo=UTC)
S = 1_000_000


def a_rule(**fields: Any) -> AlertRule:
    plain = {"name": "hot", "metric_name": "heat", "condition": ">", "threshold_value": 30}
    return new_rule(plain | fields, rule_id="rul_1", now=NOON, by="key_1")


def test_seconds_and_minutes_become_microseconds() -> None:
    rule = a_rule(
        evaluation_window=300, trigger_count=3, cooldown_minutes=0.5, auto_resolve_timeout=1.5,
        **{"for": 30},
    )  # fmt: skip

    engine = engine_rule(rule)

    assert (engine.window_us, engine.hold_us, engine.trigger_count) == (300 * S, 30 * S, 3)
    assert (engine.cooldown_us, engine.resolve_after_us) == (30 * S, 1_500_000)
    assert (engine.threshold, type(engine.threshold)) == (30.0, float)


def test_auto_is_an_interval_that_is_learned() -> None:
    auto = a_rule(kind="absence", expected_interval="auto")
    given = a_rule(kind="absence", expected_interval=60)

    assert engine_rule(auto).expected_interval_us is None
    assert shown(auto)["expected_interval"] == "auto"
    assert engine_rule(given).expected_interval_us == 60 * S
    assert shown(a_rule())["expected_interval"] is None
    assert engine_rule(auto).kind is RuleKind.ABSENCE


@pytest.mark.parametrize("threshold", [30, 30.0, 1e300, True, "open", -5])
def test_a_threshold_keeps_its_type(threshold: Any) -> None:
    rule = a_rule(condition="==", threshold_value=threshold)

    assert engine_rule(rule).threshold == threshold
    assert isinstance(engine_rule(rule).threshold, bool | str) == isinstance(threshold, bool | str)
    assert shown(rule)["threshold_value"] == threshold


def test_whole_numbers_and_fractions_are_one_condition() -> None:
    assert a_rule(threshold_value=30).condition_key == a_rule(threshold_value=30.0).condition_key
    assert a_rule(threshold_value=30).condition_key != a_rule(threshold_value=31).condition_key


def test_names_that_are_repeated_count_once() -> None:
    assert a_rule(device_ids=["b", "a", "b"]).device_ids == ["b", "a"]


def test_every_change_is_a_revision() -> None:
    rule = changed_rule(a_rule(), {"level": "info", "for": 10}, by="key_2")

    assert (rule.revision, rule.level, rule.hold_s) == (2, "info", 10)
    assert (rule.created_by, rule.updated_by) == ("key_1", "key_2")
    assert "updated_by" not in shown(rule)
    assert "condition_key" not in shown(rule)


def test_a_change_may_not_leave_a_rule_without_its_condition() -> None:
    with pytest.raises(Invalid) as raised:
        changed_rule(a_rule(kind="absence", condition=None), {"kind": "threshold"}, by="key_2")

    assert [error["pointer"] for error in raised.value.errors] == ["/condition"]


class TestEnding:
    DEVICES = frozenset({"a", "b"})

    def of(self, **changes: Any) -> Ending | None:
        before = a_rule()
        after = changed_rule(before, changes, by="key_2")
        return ending(before, after, targets=lambda rule: self.DEVICES)

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "warm"}, {"level": "critical"}, {"description": "x"}, {"tags": ["t"]},
            {"notification_channels": ["ops"]}, {"cooldown_minutes": 1}, {"shadow": True},
            {"quiet_hours": {"start": 1, "end": 2}}, {"no_data": "keep"}, {"enabled": True},
            {"threshold_value": 30.0}, {"auto_resolve_timeout": 1},
        ],
    )  # fmt: skip
    def test_what_does_not_decide_ends_nothing(self, changes: dict[str, Any]) -> None:
        assert self.of(**changes) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"metric_name": "damp"}, {"condition": ">="}, {"threshold_value": 31},
            {"evaluation_window": 1}, {"trigger_count": 2}, {"for": 1},
            {"resolve_threshold": 20}, {"kind": "absence"},
        ],
    )  # fmt: skip
    def test_what_decides_ends_all(self, changes: dict[str, Any]) -> None:
        assert self.of(**changes) == Ending("rule_changed")

    def test_other_devices_end_those_that_are_left_out(self) -> None:
        assert self.of(device_ids=["a", "b"]) == Ending("rule_changed", self.DEVICES)

    def test_turning_it_off_is_the_reason_whatever_else_changes(self) -> None:
        assert self.of(enabled=False, threshold_value=5) == Ending("rule_disabled")

    def test_a_rule_that_watches_everything_leaves_nobody_out(self) -> None:
        before = a_rule(device_ids=["a"])
        after = changed_rule(before, {"device_ids": []}, by="key_2")

        assert ending(before, after, targets=lambda rule: None) is None


def test_no_data_and_kinds_are_the_engines() -> None:
    rule = a_rule(kind="transition", no_data="alert", **{"from": "a", "to": None})

    engine = engine_rule(rule)

    assert (engine.kind, engine.no_data) == (RuleKind.TRANSITION, NoData.ALERT)
    assert (engine.from_value, engine.to_value) == ("a", None)
