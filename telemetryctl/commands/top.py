"""`telemetryctl top`: who sends how much just now."""

from __future__ import annotations

import shutil
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.commands.status import parse_interval
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.console import printable
from telemetryctl.output.render import Column
from telemetryctl.output.watch import watch
from telemetryctl.session import Session

KINDS = ("device", "metric", "key")
LIMIT = 20
LIMIT_MAX = 1_000
HEAD_LINES = 4
"""Above and below the rows of the picture."""
BAR_CELLS = 20

app = single()


@command(
    app,
    example="""telemetryctl top
    telemetryctl top --by metric --interval 5s
    telemetryctl top --by key -n 1 -o json""",
)
def top(
    session: Session,
    *,
    by: Annotated[str, typer.Option("--by", help="device, metric or key.")] = "device",
    interval: Annotated[str, typer.Option("--interval", help="Draw it so often.")] = "2s",
    window: Annotated[
        str, typer.Option("--window", help="Rates are means of so long, up to 59s.")
    ] = "10s",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=LIMIT_MAX, help="So many rows.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Draw it so often, then end.")
    ] = None,
) -> None:
    """Show points a second by device, metric or key, the busiest first."""
    if by not in KINDS:
        raise UsageFailure(f'"{by}" is nothing rates are known by', hint=", ".join(KINDS))
    window_s = times.parse_duration(window).total_seconds()
    every = parse_interval(interval)

    def draw() -> None:
        answer = session.client.rates(
            by=by, window=f"{window_s:.0f}s", limit=_limit(session, limit)
        )
        _show(session, answer)

    watch(session.console, draw, every=every, count=count)


def _limit(session: Session, limit: int | None) -> int:
    """As many rows as were asked for, or as the terminal has room for."""
    if limit is not None or not session.console.is_stdout_tty:
        return limit or LIMIT
    return max(min(shutil.get_terminal_size().lines - HEAD_LINES, LIMIT_MAX), 1)


def _show(session: Session, answer: dict[str, Any]) -> None:
    columns = [Column("name", title=answer["by"].upper(), is_fixed=True)]
    if answer["by"] == "key":
        columns.append(Column("label", title="NAME"))
    columns += [
        Column("points_per_second", title="POINTS/S", is_right=True),
        Column("points", is_right=True),
    ]
    if session.renderer.format == "table":
        total, window_s = answer["total_points_per_second"], answer["window_s"]
        head = f"{session.settings.server}   {total:,.1f} points/s over the last {window_s} s"
        session.console.write(printable(head) + "\n\n")
        highest = max((rate["points"] for rate in answer["rates"]), default=0)
        rows = [{**rate, "share": _bar(rate["points"], highest)} for rate in answer["rates"]]
        session.renderer.rows(rows, columns=[*columns, Column("share", title=" ")])
        return
    session.renderer.listing(answer, key="rates", columns=columns)


def _bar(points: int, highest: int) -> str:
    """ASCII, as it also goes over odd serial lines."""
    return "#" * round(points / highest * BAR_CELLS) if highest else ""
