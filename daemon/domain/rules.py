"""What an alert rule says, and when a sample breaches it.

How alerts come of it is domain/alerts'.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
GRACE_FACTOR_DEFAULT = 3.0
SILENCE_DEFAULT_US = 300 * SECOND_US
"""A silence that counts for `no_data: alert` while neither cadence nor window is known."""


class RuleKind(StrEnum):
    """What a rule looks for."""

    THRESHOLD = "threshold"
    ABSENCE = "absence"
    TRANSITION = "transition"


class Condition(StrEnum):
    """How a value is compared with the threshold."""

    ABOVE = ">"
    BELOW = "<"
    AT_LEAST = ">="
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="


class Level(StrEnum):
    """How bad it is, in this order."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    EMERGENCY = "emergency"

    @property
    def rank(self) -> int:
        return list(Level).index(self)


class NoData(StrEnum):
    """What silence does: counts as calm, keeps an alert open and stale, or raises one."""

    OK = "ok"
    KEEP = "keep"
    ALERT = "alert"


_COMPARE: Final[dict[Condition, Callable[[Any, Any], bool]]] = {
    Condition.ABOVE: operator.gt,
    Condition.BELOW: operator.lt,
    Condition.AT_LEAST: operator.ge,
    Condition.AT_MOST: operator.le,
    Condition.EQUAL: operator.eq,
    Condition.UNEQUAL: operator.ne,
}
_ORDERED = frozenset(Condition) - {Condition.EQUAL, Condition.UNEQUAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The part of a rule that decides (contract 7.1); durations in µs.

    threshold             a number, or for == and != also a text or a truth value
    window_us             0: the sample itself; trigger_count breaches within (t - window, t] fire
    hold_us               how long the condition must have held without a break (`for`)
    resolve_threshold     while open, values up to it still count as breach
    expected_interval_us  of absence, None: learned from the device's own cadence
    from_value, to_value  of transition, None: any
    """

    kind: RuleKind = RuleKind.THRESHOLD
    condition: Condition = Condition.ABOVE
    threshold: float | str | bool = 0.0
    window_us: int = 0
    trigger_count: int = 1
    hold_us: int = 0
    resolve_threshold: float | None = None
    no_data: NoData = NoData.OK
    cooldown_us: int = 15 * MINUTE_US
    auto_resolve: bool = True
    resolve_after_us: int = 300 * SECOND_US
    expected_interval_us: int | None = None
    grace_factor: float = GRACE_FACTOR_DEFAULT
    from_value: Any = None
    to_value: Any = None

    @property
    def remembers(self) -> bool:
        """Whether a sample that does not breach can fire for those before it."""
        return self.kind is RuleKind.THRESHOLD and bool(self.window_us or self.hold_us)

    @property
    def memory_us(self) -> int:
        """How far back samples matter to a decision; with a hold time also `memory_before`."""
        return max(self.window_us + self.hold_us, self.resolve_after_us)

    @property
    def memory_before(self) -> int:
        """How many samples before that matter: the run may have begun with them, long ago."""
        return self.trigger_count if self.hold_us else 0


def breaches(rule: Rule, value: Any, *, previous: Any = None, is_open: bool = False) -> bool:
    """Whether a sample breaches; `previous` is the value before it, None when there is none.

    Values that can't be compared with the threshold never breach.
    """
    match rule.kind:
        case RuleKind.ABSENCE:
            return False
        case RuleKind.TRANSITION:
            return (
                previous is not None
                and previous != value
                and (rule.from_value is None or previous == rule.from_value)
                and (rule.to_value is None or value == rule.to_value)
            )
        case RuleKind.THRESHOLD:
            bound = rule.threshold
            if is_open and rule.resolve_threshold is not None:
                bound = rule.resolve_threshold
            return _is_comparable(rule.condition, value, bound) and _COMPARE[rule.condition](
                value, bound
            )


def _is_comparable(condition: Condition, value: Any, bound: Any) -> bool:
    if isinstance(value, bool) and isinstance(bound, int | float):
        return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        return isinstance(bound, int | float)
    return condition not in _ORDERED and type(value) is type(bound)


def condition_key(metric_name: str, rule: Rule) -> str:
    """Names what decides: as long as it stays, an edit keeps the open alerts (contract 7)."""
    said = [
        metric_name,
        rule.kind,
        rule.condition,
        rule.threshold,
        rule.window_us,
        rule.trigger_count,
        rule.hold_us,
        rule.resolve_threshold,
        rule.expected_interval_us,
        rule.grace_factor,
        rule.from_value,
        rule.to_value,
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
