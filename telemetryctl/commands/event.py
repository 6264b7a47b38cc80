"""Events: what happened, and telling something."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.metric import parse_object
from telemetryctl.failures import ExitCode, Failure, UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = noun("What happened: definitions, keys, alerts, and what others tell.")

WAIT_S = 20
"""How long the server holds back an answer without events."""
DELAYS_S = (3, 6, 12, 24, 48, 60)
PAGE_EVENTS = 1_000
COLUMNS = (
    Column("timestamp", title="TIME", is_fixed=True, is_time=True),
    Column("severity", is_fixed=True),
    Column("type", is_fixed=True),
    Column("subject"),
    Column("message"),
)
ITEM_COLUMNS = (Column("event_id", title="EVENT", is_fixed=True), *COLUMNS, Column("data"))

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The event's id.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events."""

    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Of this type, such as metric.defined; repeat it."),
    ] = None
    severities: Annotated[
        list[str] | None,
        typer.Option("--severity", help="info, warning, error, critical, emergency; repeat it."),
    ] = None

    def filters(self) -> dict[str, Any]:
        """Return the parameters of the request."""
        return {"type": _joined(self.types), "severity": _joined(self.severities)}


def _joined(values: list[str] | None) -> str | None:
    return ",".join(values) if values else None


@command(
    app,
    example="""telemetryctl event ls
    telemetryctl event ls --severity error --severity critical -n 5
    telemetryctl event ls --after 1a2b3c4d-17 -o jsonl""",
)
def ls(
    session: Session,
    *,
    chosen: Chosen,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=PAGE_EVENTS, help="At most so many.")
    ] = 100,
    after: Annotated[
        str | None, typer.Option(help="Behind this cursor, in order; '' for the oldest kept.")
    ] = None,
) -> None:
    """List events, the newest first."""
    document = session.client.list_events(**chosen.filters(), limit=limit, after=after)
    _note_gap(session, document)
    session.renderer.listing(document, key="events", columns=COLUMNS)


@command(app, example="telemetryctl event get evt_01kcq2v8m3000000000000000a")
def get(session: Session, *, event_id: EventId) -> None:
    """Show one event."""
    session.renderer.item(session.client.get_event(event_id), columns=ITEM_COLUMNS)


@dataclass(frozen=True, slots=True)
class About:
    """What to tell."""

    severity: Annotated[
        str | None, typer.Option(help="info, warning, error, critical or emergency.")
    ] = None
    subject: Annotated[str | None, typer.Option(help="The id of what it is about.")] = None
    data: Annotated[str | None, typer.Option(metavar="JSON", help="More about it.")] = None
    at: Annotated[str | None, typer.Option("--at", help="When it happened. [now]")] = None
    dedup_id: Annotated[
        str | None, typer.Option("--dedup-id", help="The same id again is the same event.")
    ] = None


@command(
    app,
    example="""telemetryctl event create deploy.done "version 7 is out"
    telemetryctl event create anomaly hot --subject pump_7 --data '{"score": 0.9}'""",
)
def create(
    session: Session,
    *,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Words between dots.")],
    message: Annotated[str, typer.Argument(help="For people.")] = "",
    about: About,
) -> None:
    """Tell an event."""
    body: dict[str, Any] = {"type": event_type, "message": message}
    given = {"severity": about.severity, "subject": about.subject, "dedup_id": about.dedup_id}
    body |= {name: value for name, value in given.items() if value is not None}
    if about.data is not None:
        body["data"] = parse_object(about.data)
    if about.at is not None:
        instant = times.parse_time(about.at, at=times.now(), zone=session.zone)
        body["timestamp"] = times.format_rfc3339(instant)
    try:
        document = session.client.create_event(body)
    except ServerProblem as problem:
        raise problem.during("the event was not told") from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


@dataclass(frozen=True, slots=True)
class Until:
    """Where to begin and when to end; without any of these from now to Ctrl-C."""

    after: Annotated[
        str | None, typer.Option(help="Begin behind this cursor; '' for the oldest kept.")
    ] = None
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="End after so many events.")
    ] = None
    for_: Annotated[str | None, typer.Option("--for", help="End after this long: 30s.")] = None


@command(
    app,
    example="""telemetryctl event tail
    telemetryctl event tail --severity critical -o jsonl
    telemetryctl event tail --type metric.defined -n 1 --for 1h""",
)
def tail(session: Session, *, chosen: Chosen, until: Until) -> None:
    """Show events as they come: each once, none missing, whatever happens to the connection."""
    renderer = session.renderer
    if renderer.is_document:
        raise UsageFailure("a tail has no end, so it is no document", hint="-o jsonl")
    left = until.count
    for event in follow_events(session, chosen.filters(), until=until):
        if renderer.format == "table":
            renderer.line(event, columns=COLUMNS)
        else:
            renderer.rows([event], columns=COLUMNS)
            renderer = renderer.without_headers()
        session.console.flush()
        if left is not None and (left := left - 1) == 0:
            return


def follow_events(session: Session, filters: Mapping[str, Any], *, until: Until) -> Iterator[Any]:
    """Events behind a cursor as they come, up to the end of the time."""
    ends_s = None
    if until.for_ is not None:
        ends_s = time.monotonic() + times.parse_duration(until.for_).total_seconds()
    after = until.after
    if after is None:
        after = str(session.client.list_events(limit=1)["cursor"])
    failures = 0
    while (left_s := WAIT_S if ends_s is None else ends_s - time.monotonic()) > 0:
        wait_s = f"{min(left_s, WAIT_S):.3f}"
        try:
            page = session.client.list_events(
                **filters, after=after, wait=wait_s, limit=PAGE_EVENTS
            )
        except Failure as failure:
            if failure.exit_code != ExitCode.TRY_LATER:
                raise
            failures += 1
            delay_s = min(DELAYS_S[min(failures, len(DELAYS_S)) - 1], left_s)
            session.console.note(f"-- {failure.what}; trying again in {delay_s:.0f} s --")
            time.sleep(delay_s)
            continue
        if failures:
            session.console.note(f"-- resumed; {len(page['events'])} events caught up --")
        failures, after = 0, str(page["cursor"])
        _note_gap(session, page)
        yield from page["events"]


def _note_gap(session: Session, page: Mapping[str, Any]) -> None:
    gap = page.get("gap")
    if gap:
        session.console.note(
            f"-- gap: events from {gap['from']} to {gap['to']} are gone ({gap['reason']}) --"
        )
