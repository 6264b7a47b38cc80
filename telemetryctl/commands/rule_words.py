"""The words of rules on the command line: names, conditions, states, durations, quiet hours."""

import json
import re
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.completion import complete_rules
from telemetryctl.failures import NothingThere, UsageFailure
from telemetryctl.session import Session

ID_PREFIX = "rul_"
RuleName = Annotated[
    str, typer.Argument(metavar="RULE", help="Name or id.", autocompletion=complete_rules)
]

_WHEN = re.compile(r"\s*(>=|<=|==|!=|>|<|=)\s*(.+?)\s*")
_QUIET = re.compile(
    r"(?P<start>[0-9:]+)-(?P<end>[0-9:]+)(?:,(?P<days>[a-z,]+))?(?:@(?P<zone>\S+))?"
)


def parse_when(text: str) -> tuple[str, Any]:
    """Return condition and threshold of `> 30`, `<=5` or `== open`. Raises UsageFailure."""
    found = _WHEN.fullmatch(text)
    if found is None:
        raise UsageFailure(f'"{text}" is no condition', hint="--when '> 30', or '== open'")
    condition = "==" if found[1] == "=" else found[1]
    return condition, parse_state(found[2])


def parse_state(text: str) -> Any:
    """Return the number or truth value that a text says, else the text; quotes make it a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def parse_seconds(text: str) -> int | float:
    """Return the seconds of `5m` or `300`. Raises UsageFailure."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return _plain(float(text))
    return _plain(times.parse_duration(text).total_seconds())


def parse_minutes(text: str) -> int | float:
    """Return the minutes of `15m`, `30s` or `15`. Raises UsageFailure."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return _plain(float(text))
    return _plain(times.parse_duration(text).total_seconds() / 60)


def parse_interval(text: str) -> int | float | str:
    """Return the seconds of `1m`, or `auto`. Raises UsageFailure."""
    return text if text == "auto" else parse_seconds(text)


def parse_quiet(text: str) -> dict[str, Any]:
    """Return quiet hours of `22-7`, `22:30-7,sat,sun` or `22-7@Asia/Hong_Kong`.

    Raises UsageFailure.
    """
    found = _QUIET.fullmatch(text)
    if found is None:
        hint = "22-7, 22:30-7,sat,sun or 22-7@Asia/Hong_Kong"
        raise UsageFailure(f'"{text}" are no quiet hours', hint=hint)
    quiet: dict[str, Any] = {"start": _clock(found["start"]), "end": _clock(found["end"])}
    if found["days"]:
        quiet["days"] = found["days"].split(",")
    if found["zone"]:
        quiet["timezone"] = found["zone"]
    return quiet


def _clock(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def find_rule(session: Session, text: str) -> str:
    """Return the id of a rule by its id or name. Raises NothingThere."""
    if text.startswith(ID_PREFIX):
        return text
    found = session.client.list_rules(name=text)["rules"]
    if not found:
        raise NothingThere(f'there is no rule "{text}"', hint="telemetryctl rule ls")
    return str(found[0]["rule_id"])
