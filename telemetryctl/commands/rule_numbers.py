"""The numbers of a backtest on the command line: values to try, and conditions to fail by."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from telemetryctl.commands.rule_words import (
    parse_interval,
    parse_minutes,
    parse_seconds,
    parse_state,
)
from telemetryctl.failures import UsageFailure

VALUES_MAX = 100
"""The server tries no more candidates than this."""
NUMBERS = (
    "alerts", "alerts_per_day", "devices", "flaps", "minutes_firing", "noisiest_hour_alerts",
    "open_at_end",
)  # fmt: skip
"""What a summary has that a condition may be about."""
_READERS: Mapping[str, Callable[[str], Any]] = {
    "evaluation_window": parse_seconds, "for": parse_seconds,
    "auto_resolve_timeout": parse_seconds, "cooldown_minutes": parse_minutes,
    "expected_interval": parse_interval,
}  # fmt: skip
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "==": operator.eq, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
_RANGE = re.compile(r"(?P<first>[^:]+?)\.\.(?P<last>[^:]+?)(?::(?P<step>.+))?")
_TERM = re.compile(r"\s*(?P<name>[a-z_]+)\s*(?P<sign>>=|<=|==|!=|>|<|=)\s*(?P<number>\S+)\s*")


def parse_settings(texts: list[str]) -> dict[str, list[Any]]:
    """Return the values by field of `threshold_value=85..95:1` and `trigger_count=1,2,3`.

    Raises UsageFailure.
    """
    settings: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise UsageFailure(f'"{text}" sets nothing', hint="--set threshold_value=85..95:1")
        if name in settings:
            raise UsageFailure(f"--set {name} is given twice", hint=f"--set {name}=A,B,C")
        settings[name] = _range(values) or _listed(name, values)
    return settings


def _listed(name: str, text: str) -> list[Any]:
    return [_READERS.get(name, parse_state)(part.strip()) for part in text.split(",")]


def _range(text: str) -> list[Any] | None:
    """The numbers from first to last, both included; None when it is no range."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    try:
        # Binary fractions would end 0.1..0.3:0.1 at 0.2.
        first, last, step = (Decimal(found[n] or "1") for n in ("first", "last", "step"))
    except InvalidOperation as error:
        hint = "--set FIELD=85..95:1"
        raise UsageFailure(f'"{text}" is no range of numbers', hint=hint) from error
    if not (first.is_finite() and last.is_finite() and step.is_finite()):
        raise UsageFailure(f'"{text}" has no end')
    if step <= 0 or last < first:
        raise UsageFailure(f'"{text}" goes nowhere', hint="FIRST..LAST:STEP, upwards")
    count = int((last - first) / step) + 1
    if count > VALUES_MAX:
        raise UsageFailure(f'"{text}" are {count:,} values, more than {VALUES_MAX}')
    return [_plain(first + step * at) for at in range(count)]


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition about the numbers of a summary: comparisons joined by `and`."""

    terms: tuple[tuple[str, str, float], ...]

    def __str__(self) -> str:
        return " and ".join(f"{name} {sign} {number:g}" for name, sign, number in self.terms)

    def holds(self, summary: Mapping[str, Any]) -> bool:
        """Whether all comparisons are true."""
        return all(
            _OPERATORS[sign](float(summary[name]), number) for name, sign, number in self.terms
        )


def parse_limit(text: str) -> Limit:
    """Return the condition of `alerts_per_day > 5` or `alerts > 9 and flaps > 0`.

    Raises UsageFailure.
    """
    terms = []
    for part in re.split(r"\band\b", text):
        found = _TERM.fullmatch(part)
        if found is None:
            raise UsageFailure(f'"{text}" is no condition', hint="--fail-if 'alerts_per_day > 5'")
        if found["name"] not in NUMBERS:
            raise UsageFailure(f'a backtest has no "{found["name"]}"', hint=", ".join(NUMBERS))
        try:
            number = float(Decimal(found["number"]))
        except InvalidOperation as error:
            raise UsageFailure(f'"{found["number"]}" is no number') from error
        if not math.isfinite(number):
            raise UsageFailure(f'"{found["number"]}" is nothing to compare with')
        terms.append((found["name"], found["sign"], number))
    return Limit(tuple(terms))
