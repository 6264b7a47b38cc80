"""Answers for monitoring systems: one line and an exit code of their own, 0 to 3 (Nagios)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.failures import Failure, UsageFailure
from telemetryctl.files.figures import read_figures, write_figures
from telemetryctl.options import command, noun
from telemetryctl.session import Session

FORMATS = ("nagios", "text", "json", "prometheus")

app = noun("Answer a monitoring system. Exits with 0 ok, 1 warning, 2 critical, 3 unknown.")


class State(IntEnum):
    """What the exit code says."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its bounds, each None where there is none; `unit` as Nagios writes it."""

    value: float
    warn: float | None = None
    crit: float | None = None
    unit: str = ""

    @property
    def state(self) -> State:
        if self.crit is not None and self.value >= self.crit:
            return State.CRITICAL
        if self.warn is not None and self.value >= self.warn:
            return State.WARNING
        return State.OK


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found."""

    state: State
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


FormatOption = Annotated[str, typer.Option("--format", help="nagios, text, json or prometheus.")]
WarnAge = Annotated[str, typer.Option("--warn", help="Warning from this on.")]
CritAge = Annotated[str, typer.Option("--crit", help="Critical from this on.")]


def judge(session: Session, name: str, format_name: str, look: Callable[[], Outcome]) -> None:
    """Print what `look` finds and leave with its code; whatever fails is unknown."""
    if format_name not in FORMATS:
        raise UsageFailure(f'"{format_name}" is not a format', hint=", ".join(FORMATS))
    try:
        outcome = look()
    except Failure as failure:
        outcome = Outcome(State.UNKNOWN, f"{failure.what}{failure.why and ': ' + failure.why}")
    session.console.write(_written(name, outcome, format_name) + "\n")
    raise typer.Exit(int(outcome.state))


def _written(name: str, outcome: Outcome, format_name: str) -> str:
    text = " ".join(outcome.text.split()).replace("|", "/")
    match format_name:
        case "json":
            return json.dumps(_document(name, outcome))
        case "prometheus":
            return "\n".join(_exposed(name, outcome))
        case "text":
            return f"{outcome.state.name.lower()}: {text}"
    told = " ".join(_perfdata(label, figure) for label, figure in outcome.figures.items())
    line = f"{name.upper()} {outcome.state.name} - {text}"
    return f"{line} | {told}" if told else line


def _perfdata(label: str, figure: Figure) -> str:
    """As in `age=0.4s;5;30` (Monitoring Plugins development guidelines, performance data)."""
    bounds = [f"{b:g}" if b is not None else "" for b in (figure.warn, figure.crit)]
    return f"{label}={figure.value:g}{figure.unit};{';'.join(bounds)}".rstrip(";")


def _document(name: str, outcome: Outcome) -> dict[str, Any]:
    figures = {
        label: {"value": figure.value, "warn": figure.warn, "crit": figure.crit}
        for label, figure in outcome.figures.items()
    }
    return {
        "check": name,
        "state": outcome.state.name.lower(),
        "code": int(outcome.state),
        "text": outcome.text,
        "figures": figures,
    }


def _exposed(name: str, outcome: Outcome) -> list[str]:
    said = "0 ok, 1 warning, 2 critical, 3 unknown."
    state = [({"check": name}, float(outcome.state))]
    values = [({"check": name, "figure": k}, f.value) for k, f in outcome.figures.items()]
    lines = [*write_figures("telemetry_check_state", said, state)]
    if values:
        lines += write_figures("telemetry_check_value", "What the check looked at.", values)
    return lines


def _worst(figures: Mapping[str, Figure]) -> State:
    return max((figure.state for figure in figures.values()), default=State.OK)


def seconds(text: str) -> float:
    """Return the seconds of a duration."""
    return times.parse_duration(text).total_seconds()


def _spoken(value_s: float) -> str:
    if value_s < 1:
        return f"{value_s:.1f} s"
    return times.format_duration(timedelta(seconds=round(value_s)))


# -- the checks ----------------------------------------------------------------------------------


@command(
    app,
    example="""telemetryctl check health
    telemetryctl check health --warn 500ms --crit 5s
    telemetryctl check health --format prometheus > /var/lib/node_exporter/telemetry.prom""",
)
def health(
    session: Session,
    *,
    warn: WarnAge = "1s",
    crit: CritAge = "5s",
    format_name: FormatOption = "nagios",
) -> None:
    """Whether the daemon can do its work, and how fast it answers."""
    bounds = seconds(warn), seconds(crit)

    def look() -> Outcome:
        began_s = time.monotonic()
        found = session.client.health()
        took = Figure(round(time.monotonic() - began_s, 4), *bounds, unit="s")
        figures = {"time": took}
        down = [name for name, state in (found.get("dependencies") or {}).items() if state != "up"]
        if found.get("status") != "healthy":
            return Outcome(State.CRITICAL, f"not healthy, down: {', '.join(down)}", figures)
        if down:
            return Outcome(State.WARNING, f"down: {', '.join(down)}", figures)
        text = f"v{found.get('version')} answers in {took.value * 1000:.0f} ms"
        return Outcome(_worst(figures), text, figures)

    judge(session, "health", format_name, look)


@command(
    app,
    example="""telemetryctl check ingest --warn 1m --crit 10m
    telemetryctl check ingest --format json""",
)
def ingest(
    session: Session,
    *,
    warn: WarnAge = "1m",
    crit: CritAge = "10m",
    format_name: FormatOption = "nagios",
) -> None:
    """How long nothing was stored, and how full the queue is."""
    bounds = seconds(warn), seconds(crit)

    def look() -> Outcome:
        found = read_figures(session.client.figures())
        rate = float(session.client.stats().get("points_per_second") or 0)
        queue = _only(found, "telemetry_ingest_queue_points")
        room = _only(found, "telemetry_ingest_queue_capacity_points") or 1.0
        idle_s = _only(found, "telemetry_journal_idle_seconds")
        figures = {
            "age": Figure(round(idle_s, 1), *bounds, unit="s"),
            "queue": Figure(round(100 * queue / room, 1), 50, 90, unit="%"),
            "rate": Figure(round(rate, 1)),
        }
        text = f"last stored {_spoken(idle_s)} ago, {rate:,.0f} points/s"
        return Outcome(_worst(figures), text, figures)

    judge(session, "ingest", format_name, look)


@command(app, example="telemetryctl check lag --warn 10s --crit 1m")
def lag(
    session: Session,
    *,
    warn: WarnAge = "10s",
    crit: CritAge = "1m",
    format_name: FormatOption = "nagios",
) -> None:
    """How far rules are behind the points, and what waits to be compacted and sent."""
    bounds = seconds(warn), seconds(crit)

    def look() -> Outcome:
        found = read_figures(session.client.figures())
        behind_s = max((v for _, v in found.get("telemetry_scheduler_lag_seconds", [])), default=0)
        figures = {
            "rules": Figure(round(behind_s, 1), *bounds, unit="s"),
            "head": Figure(_only(found, "telemetry_head_points")),
            "notifications": Figure(_only(found, "telemetry_notification_queue_length")),
        }
        return Outcome(_worst(figures), f"rules are {_spoken(behind_s)} behind the points", figures)

    judge(session, "lag", format_name, look)


@command(
    app,
    example="""telemetryctl check alerts
    telemetryctl check alerts --warn 5 --crit 1""",
)
def alerts(
    session: Session,
    *,
    warn: Annotated[int, typer.Option("--warn", help="So many open alerts are a warning.")] = 1,
    crit: Annotated[
        int, typer.Option("--crit", help="So many critical ones are critical; 0 never.")
    ] = 1,
    format_name: FormatOption = "nagios",
) -> None:
    """How many alerts are active that nobody has acknowledged."""

    def look() -> Outcome:
        found = session.client.list_alerts(status="active", limit=1)
        figures = {
            "active": Figure(found["total"], warn=warn or None),
            "critical": Figure(found["critical_count"], crit=crit or None),
        }
        text = f"{found['total']} active, {found['critical_count']} critical"
        return Outcome(_worst(figures), text, figures)

    judge(session, "alerts", format_name, look)


@command(
    app,
    example="""telemetryctl check device pump-7 --max-age 10m
    telemetryctl check device pump-7 --warn 2m --max-age 10m""",
)
def device(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Which device.")],
    *,
    max_age: Annotated[str, typer.Option("--max-age", help="Critical from this age on.")] = "10m",
    warn: Annotated[str | None, typer.Option("--warn", help="Warning from this age on.")] = None,
    format_name: FormatOption = "nagios",
) -> None:
    """How long a device has been silent."""
    crit_s, warn_s = seconds(max_age), seconds(warn) if warn else None

    def look() -> Outcome:
        seen = session.client.get_device(name).get("last_seen_at")
        if seen is None:
            return Outcome(State.CRITICAL, f"{name} has never sent")
        age_s = max(0.0, (times.now() - times.parse_time(seen, at=times.now())).total_seconds())
        figures = {"age": Figure(round(age_s, 1), warn_s, crit_s, unit="s")}
        return Outcome(_worst(figures), f"{name} last sent {_spoken(age_s)} ago", figures)

    judge(session, "device", format_name, look)


def _only(found: Mapping[str, list[tuple[dict[str, str], float]]], name: str) -> float:
    """The figure of the process that answered. Raises Failure for an older daemon."""
    values = found.get(name)
    if not values:
        raise Failure(f"the daemon does not tell {name}")
    return values[0][1]
