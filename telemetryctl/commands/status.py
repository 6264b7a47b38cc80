"""The daemon on one screen: health, rates and lag."""

import shutil
from datetime import timedelta
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.version import warn_about_skew
from telemetryctl.failures import TryLater, UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.cells import Column, cell_text
from telemetryctl.output.console import printable
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.watch import watch
from telemetryctl.session import Session

app = single()

COLUMNS = (Column("part"), Column("status"), Column("detail"))


@command(
    app, example="telemetryctl status\ntelemetryctl status --watch\ntelemetryctl status -o json"
)
def status(
    session: Session,
    *,
    is_watched: Annotated[bool, typer.Option("--watch", help="Draw it again and again.")] = False,
    interval: Annotated[str, typer.Option(help="How often, with --watch.")] = "2s",
) -> None:
    """Show health, rates and lag. Exits with 75 when the daemon is not healthy."""
    every = parse_interval(interval)
    if is_watched:
        watch(session.console, lambda: _draw_again(session), every=every)
    else:
        warn_about_skew(session, server_version=draw(session).get("version"))


def _draw_again(session: Session) -> None:
    draw(session)


def parse_interval(text: str) -> timedelta:
    """Return the time between two pictures. Raises UsageFailure below 100 ms."""
    every = times.parse_duration(text)
    if every < timedelta(milliseconds=100):
        raise UsageFailure("the interval is too short", hint="at least 100ms")
    return every


def draw(session: Session) -> dict[str, Any]:
    """Print the screen, return the health. Raises TryLater after it when that is not good."""
    document = read(session)
    match session.renderer.format:
        case "json" | "yaml":
            session.renderer.item(document, columns=COLUMNS)
        case "table":
            session.console.write("\n".join(screen(document, width=terminal_width())) + "\n")
        case _:
            session.renderer.rows(rows_of(document), columns=COLUMNS)
    if document["health"].get("status") != "healthy":
        raise TryLater(f"{session.settings.server} is not healthy")
    health: dict[str, Any] = document["health"]
    return health


def read(session: Session) -> dict[str, Any]:
    """Return `{"server", "health", "stats"}`; `stats` is null for a key that may not read."""
    health = _detailed_health(session)
    stats = None
    if health.get("status") == "healthy":
        try:
            stats = session.client.stats()
        except ServerProblem as problem:
            # Health is open to everybody, so a missing key must not hide it.
            if problem.exit_code != ExitCode.NOT_ALLOWED:
                raise
            session.console.note(f"note: no figures, since {problem.detail}")
    return {"server": session.settings.server, "health": health, "stats": stats}


def _detailed_health(session: Session) -> dict[str, Any]:
    try:
        return session.client.health_detailed()
    except ServerProblem as problem:
        if problem.exit_code not in (ExitCode.NOT_ALLOWED, ExitCode.NOTHING):
            raise
        return session.client.health()


def rows_of(document: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row for the server, each dependency, each part of the health, and the figures."""
    health = document["health"]
    server = _row("server", health.get("status"), {"url": document["server"]} | _plain(health))
    dependencies = [
        _row(name, state, {}) for name, state in (health.get("dependencies") or {}).items()
    ]
    parts = [
        _row(name, part.get("status"), _plain(part))
        for name, part in health.items()
        if isinstance(part, dict) and name != "dependencies"
    ]
    figures = document["stats"]
    return [
        server,
        *dependencies,
        *parts,
        *([_row("stats", "", _plain(figures))] if figures else []),
    ]


def _row(part: str, status_text: object, details: dict[str, Any]) -> dict[str, str]:
    detail = "  ".join(f"{name} {cell_text(value)}" for name, value in details.items())
    return {"part": part, "status": cell_text(status_text), "detail": detail}


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    """Return the members that are one value each, but for the status, which has its column."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in part.items()
        if name not in ("status", "service") and isinstance(value, str | int | float)
    }


def screen(document: dict[str, Any], *, width: int) -> list[str]:
    """Return the lines for a person: a headline, then each part with what its figures tell.

    All figures of all parts are in the other formats.
    """
    health = document["health"]
    uptime_s = (health.get("performance") or {}).get("uptime_s")
    uptime = f"up {times.format_duration(timedelta(seconds=uptime_s))}" if uptime_s else ""
    headline = (document["server"], f"v{health.get('version')}", health.get("status"), uptime)
    lines = [printable("   ".join(text for text in headline if text))]
    parts = {name: part for name, part in health.items() if isinstance(part, dict)}
    states = parts.pop("dependencies", {})
    rows: list[tuple[str, Any, dict[str, Any]]]
    rows = [(name, state, {}) for name, state in states.items()]
    rows += [(name, part.get("status", ""), _plain(part)) for name, part in parts.items()]
    if document["stats"]:
        rows.append(("stats", "", _plain(document["stats"])))
    for name, state, figures in rows:
        if state != "absent":
            lines += _folded(name, str(state), _telling(figures), width=width)
    return lines


NAME_WIDTH = 18
STATE_WIDTH = 6
PART_LINES_MAX = 2
SHOWN_AT_ZERO = frozenset(
    {"alerts_active", "alerts_critical", "connections", "points", "points_per_second", "rules"}
)


def _telling(figures: dict[str, Any]) -> dict[str, Any]:
    """Leave out bounds, and what is zero and usually so."""
    return {
        name: value
        for name, value in figures.items()
        if not name.endswith("_max") and (value or value is False or name in SHOWN_AT_ZERO)
    }


def _folded(name: str, state: str, figures: dict[str, Any], *, width: int) -> list[str]:
    start = f"  {name.replace('_', ' '):<{NAME_WIDTH}}{state.upper():<{STATE_WIDTH}}"
    lines, line = [], start
    for figure in (printable(_figure(*item)) for item in figures.items()):
        if line.strip() and len(line) + 2 + len(figure) > width and line != start:
            lines.append(line.rstrip())
            line = " " * len(start)
        line += f"  {figure}"
    lines.append(line.rstrip())
    if len(lines) > PART_LINES_MAX:
        last = lines[PART_LINES_MAX - 1][: width - 3]
        lines = [*lines[: PART_LINES_MAX - 1], f"{last}  …"]
    return lines


def _figure(name: str, value: Any) -> str:
    """Return a figure with its unit, which the API's names carry at their end."""
    label, _, unit = name.rpartition("_")
    label = label.replace("_", " ")
    match unit, value:
        case _, bool():
            return f"{name.replace('_', ' ')} {'yes' if value else 'no'}"
        case "ms", int() | float():
            return f"{label} {value:,.1f} ms"
        case "s", int() | float():
            return f"{label} {times.format_duration(timedelta(seconds=value))}"
        case "bytes", int() | float():
            return f"{label} {format_bytes(value)}"
        case _, int() | float():
            return f"{name.replace('_', ' ')} {value:,}"
    return f"{name.replace('_', ' ')} {value}"


def format_bytes(count: float) -> str:
    """Return the size in the largest unit that keeps a whole number, such as `9.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def terminal_width() -> int:
    """Return the width of the terminal, 80 without one."""
    return shutil.get_terminal_size().columns
