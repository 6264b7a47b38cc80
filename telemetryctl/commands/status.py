"""The daemon on one screen: health, rates and lag."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.version import warn_about_skew
from telemetryctl.failures import TryLater, UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.render import Column, cell_text
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
    if session.renderer.format == "json":
        session.renderer.item(document, columns=COLUMNS)
    else:
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
