"""Watches: be told once when one device changes its state."""

from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.rule_words import parse_quiet, parse_state
from telemetryctl.completion import (
    complete_channels,
    complete_devices,
    complete_metrics,
    complete_watches,
)
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("Be told once when one device changes.")

COLUMNS = (
    Column("watch_id", title="WATCH", is_fixed=True),
    Column("state", is_fixed=True),
    Column("device_id", title="DEVICE"),
    Column("metric_name", title="METRIC"),
    Column("from"),
    Column("to"),
    Column("fired_at", title="FIRED", is_time=True),
    Column("expires_at", title="UNTIL", is_time=True),
    Column("notification_channels", title="CHANNELS"),
    Column("quiet_hours", title="QUIET"),
)

WatchId = Annotated[
    str, typer.Argument(metavar="WATCH", help="Its id.", autocompletion=complete_watches)
]
From = Annotated[str | None, typer.Option("--from", help="Only out of this state.")]
To = Annotated[str | None, typer.Option("--to", help="Only into this state.")]
Duration = Annotated[str | None, typer.Option("--for", help="Wait so long from now: 2h. [1d]")]
End = Annotated[str | None, typer.Option("--until", help="Wait until this time.")]
Quiet = Annotated[
    str | None, typer.Option("--quiet-hours", help="Say nothing at these hours: 22-7.")
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel", help="Tell this channel; repeat it.", autocompletion=complete_channels
    ),
]


@command(app, example="telemetryctl watch ls --state waiting")
def ls(
    session: Session,
    *,
    state: Annotated[str | None, typer.Option(help="waiting, fired or expired.")] = None,
    page: Page,
) -> None:
    """List your watches, the newest first."""
    document = page.read(session.client.list_watches, filters={"state": state}, key="watches")
    print_page(session, page, document=document, key="watches", columns=COLUMNS)


@command(app, example="telemetryctl watch get wat_01kcq2v8m3000000000000000a")
def get(session: Session, *, watch_id: WatchId) -> None:
    """Show one watch."""
    session.renderer.item(session.client.get_watch(watch_id), columns=COLUMNS)


@command(
    app,
    example="""telemetryctl watch add spot_17 status --from occupied --to free --for 2h
    telemetryctl watch add boiler_1 running --to false --channel phone --quiet-hours 22-7""",
)
def add(
    session: Session,
    *,
    device_id: Annotated[
        str, typer.Argument(metavar="DEVICE", help="Whom.", autocompletion=complete_devices)
    ],
    metric_name: Annotated[
        str, typer.Argument(metavar="METRIC", help="What.", autocompletion=complete_metrics)
    ],
    from_: From = None,
    to: To = None,
    for_: Duration = None,
    until: End = None,
    quiet_hours: Quiet = None,
    channels: Channels = None,
) -> None:
    """Be told once, at the first such change; without --from and --to at any."""
    body: dict[str, Any] = {
        "device_id": device_id,
        "metric_name": metric_name,
        **_fields(session, from_, to, for_, until),
    }
    if quiet_hours is not None:
        body["quiet_hours"] = parse_quiet(quiet_hours)
    if channels:
        body["notification_channels"] = channels
    try:
        document = session.client.create_watch(body)
    except ServerProblem as problem:
        raise problem.during("the watch was not made") from problem
    session.renderer.item(document, columns=COLUMNS)


@command(app, example="telemetryctl watch edit wat_01kcq2v8m3000000000000000a --for 4h")
def edit(
    session: Session,
    *,
    watch_id: WatchId,
    from_: From = None,
    to: To = None,
    for_: Duration = None,
    until: End = None,
    quiet_hours: Quiet = None,
    channels: Channels = None,
) -> None:
    """Change a watch that has not fired."""
    changes = _fields(session, from_, to, for_, until)
    if quiet_hours is not None:
        changes["quiet_hours"] = parse_quiet(quiet_hours)
    if channels is not None:
        changes["notification_channels"] = channels
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl watch edit -h")
    try:
        document = session.client.patch_watch(watch_id, changes=changes)
    except ServerProblem as problem:
        raise problem.during(f"{watch_id} was not changed") from problem
    session.renderer.item(document, columns=COLUMNS)


@command(app, example="telemetryctl watch delete wat_01kcq2v8m3000000000000000a")
def delete(
    session: Session,
    *,
    watch_ids: Annotated[
        list[str], typer.Argument(metavar="WATCH", help="Ids.", autocompletion=complete_watches)
    ],
) -> None:
    """Remove watches."""
    for done, watch_id in enumerate(watch_ids):
        try:
            session.client.delete_watch(watch_id)
        except ServerProblem as problem:
            told = f"{done:,} of {len(watch_ids):,} done, then {watch_id}"
            raise problem.during(told) from problem
    session.console.note(f"{len(watch_ids):,} watches are gone")


def _fields(
    session: Session, from_: str | None, to: str | None, for_: str | None, until: str | None
) -> dict[str, Any]:
    """What is given of the states and of how long to wait. Raises UsageFailure."""
    found: dict[str, Any] = {}
    if from_ is not None:
        found["from"] = parse_state(from_)
    if to is not None:
        found["to"] = parse_state(to)
    if for_ is not None and until is not None:
        raise UsageFailure("--for and --until say the same", hint="give one of them")
    if for_ is not None:
        found["expires_at"] = times.format_rfc3339(times.now() + times.parse_duration(for_))
    elif until is not None:
        end = times.parse_time(until, at=times.now(), zone=session.zone)
        found["expires_at"] = times.format_rfc3339(end)
    return found
