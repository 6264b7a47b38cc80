"""What an author of a rule may not have meant: findings over what is known of its metric, devices
and channels. Gathering that is service/rules'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from daemon.domain.rule_request import AlertRule, engine_rule
from daemon.domain.rules import Condition, RuleKind, breaches

COOLDOWN_DEFAULT_MINUTES: Final = 15.0
RESOLVE_DEFAULT_S: Final = 300.0
NAMES_TOLD_MAX = 5
_TYPE_NAMES = {bool: "a truth value", str: "a text", int: "a number", float: "a number"}
# Truth values and numbers can be compared with each other.
_TYPES_OF: dict[str, tuple[type, ...]] = {
    "numeric": (bool, int, float),
    "string": (str,),
    "boolean": (bool, int, float),
}


class Severity(StrEnum):
    """With `strict`, an error refuses the rule."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at; the codes are those of the contract, and `failing_channel`."""

    code: str
    severity: Severity
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known where the rule is to work, as far as its author may see it.

    is_defined, is_sent  the metric has a definition, some device has sent it
    data_type            by the definition, else by what is sent; None when unknown
    devices              how many devices the rule watches now
    strangers            named devices that never sent the metric, and unknown groups
    cadence_s            the usual gap between samples of these devices; None while unknown
    channels             known names -> whether the channel fails just now
    twins                names of other rules that decide the same for some of the same devices
    """

    is_defined: bool = False
    is_sent: bool = False
    data_type: str | None = None
    min_value: float | None = None
    max_value: float | None = None
    allowed_values: Sequence[Any] | None = None
    devices: int = 0
    strangers: Sequence[str] = ()
    cadence_s: float | None = None
    channels: Mapping[str, bool] = field(default_factory=dict)
    twins: Sequence[str] = ()


def lint(rule: AlertRule, facts: Facts) -> list[Finding]:
    """All findings, the gravest first; without any the rule is as it should be."""
    found = [
        *_about_metric(rule, facts),
        *_about_values(rule, facts),
        *_about_time(rule, facts),
        *_about_channels(rule, facts),
        *_about_others(facts),
    ]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _about_metric(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    if not facts.is_sent:
        name = rule.metric_name
        if not facts.is_defined:
            yield _error("unknown_metric", f"no metric {name} is defined, and no device sent one")
        else:
            yield _warning("unknown_metric", f"no device has sent {name} yet")
    if facts.strangers:
        told = ", ".join(facts.strangers[:NAMES_TOLD_MAX])
        more = "" if len(facts.strangers) <= NAMES_TOLD_MAX else " and others"
        detail = f"unknown, or never sent {rule.metric_name}: {told}{more}"
        yield _warning("no_device", detail)
    elif facts.devices == 0 and (facts.is_sent or rule.has_targets):
        yield _warning("no_device", "the rule watches no device at present")


# -- values --------------------------------------------------------------------------------------


def _about_values(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    match RuleKind(rule.kind):
        case RuleKind.THRESHOLD:
            yield from _about_threshold(rule, facts)
        case RuleKind.TRANSITION:
            yield from _about_states(rule, facts)
        case RuleKind.ABSENCE:
            return


def _about_threshold(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    if rule.trigger_count > 1 and not rule.evaluation_window:
        detail = f"{rule.trigger_count} breaches never lie in an evaluation_window of 0 seconds"
        yield _error("never_true", detail)
        return
    says = f"{rule.metric_name} {rule.condition} {rule.threshold_value}"
    verdict, why = _verdict(rule, facts)
    if verdict is not None:
        code, word = ("always_true", "always") if verdict else ("never_true", "never")
        yield _by_values(facts, code, f"{says} is {word} true: {why}")


def _verdict(rule: AlertRule, facts: Facts) -> tuple[bool | None, str]:
    """True: every possible value breaches, False: none does, None: it depends."""
    if facts.data_type is not None and not _fits(facts.data_type, rule.threshold_value):
        is_unequal = rule.condition == Condition.UNEQUAL
        what = _TYPE_NAMES[type(rule.threshold_value)]
        # Values of another type are never compared, so that even != does not hold for them.
        note = ", and != compares values of one type only" if is_unequal else ""
        return False, f"the values are {facts.data_type}, the threshold is {what}{note}"
    if facts.allowed_values:
        engine = engine_rule(rule)
        found = {breaches(engine, value) for value in facts.allowed_values}
        return (found.pop() if len(found) == 1 else None), "by the allowed values"
    if isinstance(rule.threshold_value, int | float) and facts.data_type == "numeric":
        return _by_bounds(rule, facts), f"values lie {_bounds_text(facts)}"
    return None, ""


def _fits(data_type: str, value: Any) -> bool:
    return isinstance(value, _TYPES_OF.get(data_type, ()))


def _by_bounds(rule: AlertRule, facts: Facts) -> bool | None:
    threshold = float(rule.threshold_value)
    low = float("-inf") if facts.min_value is None else facts.min_value
    high = float("inf") if facts.max_value is None else facts.max_value
    match Condition(rule.condition or ""):
        case Condition.ABOVE:
            all_breach, none_breaches = low > threshold, high <= threshold
        case Condition.AT_LEAST:
            all_breach, none_breaches = low >= threshold, high < threshold
        case Condition.BELOW:
            all_breach, none_breaches = high < threshold, low >= threshold
        case Condition.AT_MOST:
            all_breach, none_breaches = high <= threshold, low > threshold
        case Condition.EQUAL:
            all_breach = low == high == threshold
            none_breaches = not low <= threshold <= high
        case Condition.UNEQUAL:
            all_breach = not low <= threshold <= high
            none_breaches = low == high == threshold
    return True if all_breach else (False if none_breaches else None)


def _bounds_text(facts: Facts) -> str:
    parts = []
    if facts.min_value is not None:
        parts.append(f"at or above {facts.min_value:g}")
    if facts.max_value is not None:
        parts.append(f"at or below {facts.max_value:g}")
    return " and ".join(parts) or "anywhere"


def _about_states(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    for name, state in (("from", rule.from_value), ("to", rule.to_value)):
        if state is None:
            continue
        if facts.data_type is not None and not _fits(facts.data_type, state):
            what = _TYPE_NAMES[type(state)]
            detail = f"{name} is {what}, the values are {facts.data_type}"
            yield _by_values(facts, "never_true", detail)
        elif facts.allowed_values and state not in facts.allowed_values:
            yield _error("never_true", f"{name} {state!r} is not among the allowed values")


def _by_values(facts: Facts, code: str, detail: str) -> Finding:
    """An error by a definition; without one, values of another type may still come."""
    return (_error if facts.is_defined else _warning)(code, detail)


# -- time, channels, other rules -----------------------------------------------------------------


def _about_time(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    cadence_s, window_s = facts.cadence_s, rule.evaluation_window
    needed_s = None if cadence_s is None else cadence_s * max(1, rule.trigger_count - 1)
    is_threshold = rule.kind == RuleKind.THRESHOLD
    if is_threshold and window_s and needed_s is not None and window_s < needed_s:
        yield _warning(
            "window_shorter_than_cadence",
            f"samples come every {cadence_s:g} s or so: {window_s:g} s hold too few of them"
            f" for {rule.trigger_count}",
        )
    if rule.auto_resolve and _cools_longer(rule):
        yield _warning(
            "cooldown_longer_than_resolve",
            f"an alert resolves {rule.auto_resolve_timeout:g} s after the last breach, and for"
            f" {rule.cooldown_minutes:g} minutes after it fired no other does: what breaches"
            " between is not told",
        )


def _cools_longer(rule: AlertRule) -> bool:
    """The defaults are so too, by the contract; who left them alone has nothing to look at."""
    said = (rule.cooldown_minutes, rule.auto_resolve_timeout)
    if said == (COOLDOWN_DEFAULT_MINUTES, RESOLVE_DEFAULT_S):
        return False
    return rule.cooldown_minutes * 60 > rule.auto_resolve_timeout


def _about_channels(rule: AlertRule, facts: Facts) -> Iterator[Finding]:
    for name in rule.notification_channels:
        if name not in facts.channels:
            yield _error("unknown_channel", f"there is no channel {name}: nobody would be told")
        elif facts.channels[name]:
            yield _warning("failing_channel", f"the channel {name} fails at present")


def _about_others(facts: Facts) -> Iterator[Finding]:
    for name in facts.twins[:NAMES_TOLD_MAX]:
        yield _warning("duplicate_rule", f"the rule {name} decides the same")


def _error(code: str, detail: str) -> Finding:
    return Finding(code, Severity.ERROR, detail)


def _warning(code: str, detail: str) -> Finding:
    return Finding(code, Severity.WARNING, detail)
