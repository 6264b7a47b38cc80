"""Alert rules as their authors write them: what a request says, whether it makes sense, and what
of it decides. How it decides is domain/rules' and domain/alerts'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from daemon.domain.errors import Invalid
from daemon.domain.quiet_hours import quiet_hours_of
from daemon.domain.rules import (
    MINUTE_US,
    SECOND_US,
    Condition,
    NoData,
    Rule,
    RuleKind,
    condition_key,
)

AUTO = "auto"
"""On the wire: the expected interval is learned."""
WIRE_NAMES: Final = {"hold_s": "for", "from_value": "from", "to_value": "to"}
"""Fields whose names on the wire are words of Python, or say no unit."""
_OWN_NAMES: Final = {wire: own for own, wire in WIRE_NAMES.items()}
_HIDDEN = frozenset({"condition_key", "updated_by"})
_ABOVE = (Condition.ABOVE, Condition.AT_LEAST)
_BELOW = (Condition.BELOW, Condition.AT_MOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """A rule as stored; its fields are those of the contract, durations in seconds.

    expected_interval  None: learned
    quiet_hours        as given, checked
    revision           grows with every change
    condition_key      names what decides: as long as it stays, open alerts do
    """

    rule_id: str
    name: str
    description: str | None = None
    metric_name: str
    kind: str = RuleKind.THRESHOLD
    condition: str | None = None
    threshold_value: Any = None
    level: str = "warning"
    device_ids: list[str]
    device_groups: list[str]
    evaluation_window: float = 0.0
    trigger_count: int = 1
    hold_s: float = 0.0
    resolve_threshold: float | None = None
    no_data: str = NoData.OK
    from_value: Any = None
    to_value: Any = None
    expected_interval: float | None = None
    grace_factor: float = 3.0
    notification_channels: list[str]
    cooldown_minutes: float = 15.0
    auto_resolve: bool = True
    auto_resolve_timeout: float = 300.0
    quiet_hours: dict[str, Any] | None = None
    enabled: bool = True
    shadow: bool = False
    tags: list[str] | dict[str, str]
    revision: int = 1
    condition_key: str = ""
    total_triggers: int = 0
    last_triggered: datetime | None = None
    created_at: datetime
    updated_at: datetime
    created_by: str
    updated_by: str

    @property
    def has_targets(self) -> bool:
        """Whether it watches certain devices, not every one with the metric."""
        return bool(self.device_ids or self.device_groups)


def new_rule(fields: Mapping[str, Any], *, rule_id: str, now: datetime, by: str) -> AlertRule:
    """The rule that a request asks for, its fields by their names on the wire. Raises Invalid."""
    blank = AlertRule(
        rule_id=rule_id,
        name="",
        metric_name="",
        device_ids=[],
        device_groups=[],
        notification_channels=[],
        tags=[],
        created_at=now,
        updated_at=now,
        created_by=by,
        updated_by=by,
    )
    return _checked(replace(blank, **_own(fields)))


def changed_rule(rule: AlertRule, changes: Mapping[str, Any], *, by: str) -> AlertRule:
    """The rule with these fields changed, of the next revision. Raises Invalid."""
    own = _own(changes)
    return _checked(replace(rule, **own, revision=rule.revision + 1, updated_by=by))


def shown(rule: AlertRule) -> dict[str, Any]:
    """The rule as the contract shows it; whole numbers without a point."""
    found = {
        WIRE_NAMES.get(name, name): _plain(getattr(rule, name))
        for name in AlertRule.__slots__
        if name not in _HIDDEN
    }
    if rule.expected_interval is None and _learns(rule):
        found["expected_interval"] = AUTO
    return found


def engine_rule(rule: AlertRule) -> Rule:
    """The part of it that decides."""
    threshold = rule.threshold_value
    is_number = isinstance(threshold, int) and not isinstance(threshold, bool)
    interval = rule.expected_interval
    return Rule(
        kind=RuleKind(rule.kind),
        condition=Condition(rule.condition or Condition.ABOVE),
        threshold=float(threshold) if is_number else (0.0 if threshold is None else threshold),
        window_us=_us(rule.evaluation_window),
        trigger_count=rule.trigger_count,
        hold_us=_us(rule.hold_s),
        resolve_threshold=rule.resolve_threshold,
        no_data=NoData(rule.no_data),
        cooldown_us=round(rule.cooldown_minutes * MINUTE_US),
        auto_resolve=rule.auto_resolve,
        resolve_after_us=_us(rule.auto_resolve_timeout),
        expected_interval_us=None if interval is None else _us(interval),
        grace_factor=rule.grace_factor,
        from_value=rule.from_value,
        to_value=rule.to_value,
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """Which open alerts of a rule end with a change, and why: all, or those of other devices than
    these."""

    reason: str
    staying: frozenset[str] | None = None


def ending(
    before: AlertRule, after: AlertRule, *, targets: Callable[[AlertRule], frozenset[str] | None]
) -> Ending | None:
    """What a change ends: all that is open when the rule is turned off or decides otherwise, and
    what is open on devices that it watches no longer. None: nothing.

    `targets` gives the devices a rule watches, None for every one.
    """
    if before.enabled and not after.enabled:
        return Ending("rule_disabled")
    if before.condition_key != after.condition_key:
        return Ending("rule_changed")
    same = (before.device_ids, before.device_groups) == (after.device_ids, after.device_groups)
    staying = None if same else targets(after)
    return None if staying is None else Ending("rule_changed", staying)


# -- what a request means ------------------------------------------------------------------------


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    own = {_OWN_NAMES.get(name, name): value for name, value in fields.items()}
    if own.get("expected_interval") == AUTO:
        own["expected_interval"] = None
    for name in ("device_ids", "device_groups", "notification_channels"):
        if name in own:
            own[name] = list(dict.fromkeys(own[name]))
    return own


def _checked(rule: AlertRule) -> AlertRule:
    errors = [
        {"pointer": pointer, "code": code, "detail": detail}
        for pointer, code, detail in _problems(rule)
    ]
    if errors:
        raise Invalid(f"The rule is not possible: {errors[0]['detail']}.", errors=errors)
    if rule.quiet_hours is not None:
        quiet_hours_of(rule.quiet_hours)
    return replace(rule, condition_key=condition_key(rule.metric_name, engine_rule(rule)))


def _problems(rule: AlertRule) -> list[tuple[str, str, str]]:
    match RuleKind(rule.kind):
        case RuleKind.THRESHOLD:
            return _threshold_problems(rule)
        case RuleKind.TRANSITION:
            same = rule.from_value is not None and rule.from_value == rule.to_value
            detail = "from and to are the same, so nothing is a transition"
            return [("/to", "contradiction", detail)] if same else []
        case RuleKind.ABSENCE:
            return []


def _threshold_problems(rule: AlertRule) -> list[tuple[str, str, str]]:
    found = [
        (f"/{name}", "missing", f"a threshold rule needs {name}")
        for name in ("condition", "threshold_value")
        if getattr(rule, name) is None
    ]
    if found:
        return found
    condition, threshold = Condition(rule.condition or ""), rule.threshold_value
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if condition in (*_ABOVE, *_BELOW) and not is_number:
        detail = f"{condition} compares numbers; a text or truth value takes == or !="
        found.append(("/threshold_value", "contradiction", detail))
    elif rule.resolve_threshold is not None:
        found += _band_problems(condition, threshold, rule.resolve_threshold)
    return found


def _band_problems(
    condition: Condition, threshold: float, resolve_threshold: float
) -> list[tuple[str, str, str]]:
    if condition in _ABOVE and resolve_threshold > threshold:
        detail = f"with {condition} it can't lie above the threshold"
    elif condition in _BELOW and resolve_threshold < threshold:
        detail = f"with {condition} it can't lie below the threshold"
    elif condition not in (*_ABOVE, *_BELOW):
        detail = f"{condition} has no band to resolve in"
    else:
        return []
    return [("/resolve_threshold", "contradiction", f"resolve_threshold: {detail}")]


def _learns(rule: AlertRule) -> bool:
    return rule.kind == RuleKind.ABSENCE or rule.no_data == NoData.ALERT


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)


def _plain(value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value
