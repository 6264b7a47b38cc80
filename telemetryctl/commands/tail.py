"""`telemetryctl tail`: points as they come, through everything that happens to the connection."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.commands.point_options import Devices, Groups, Metrics, Tags
from telemetryctl.failures import TryLater, UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.session import Session

if TYPE_CHECKING:
    from telemetryctl.client.doors import Wanted
    from telemetryctl.files.tail_state import Place, TailState
    from telemetryctl.transfer.seam import Seam
    from telemetryctl.transfer.tailing import Stop, Teller

EVERY_MIN, EVERY_MAX = timedelta(milliseconds=100), timedelta(seconds=10)
ANY_METRIC = "*"
AHEAD = timedelta(days=366)
"""History ends so far in the future: what a fast clock stamped is history, too."""
PAGE_POINTS = 10_000

app = single()


KINDS = ("device", "metric", "group", "tag")


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Which points."""

    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND:NAME", help="device:D, metric:M, group:G or tag:K=V, as the options."
        ),
    ] = None
    device: Devices = None
    metric: Metrics = None
    tag: Tags = None
    group: Groups = None
    since: Annotated[
        str | None, typer.Option("--since", help="History from then, and on without a seam.")
    ] = None
    every: Annotated[
        str | None, typer.Option("--every", help="Of each series the newest every 500ms.")
    ] = None


@dataclass(frozen=True, slots=True)
class StopOptions:
    """When it ends; without any of these at Ctrl-C."""

    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="End after so many points.")
    ] = None
    for_: Annotated[str | None, typer.Option("--for", help="End after this long: 30s.")] = None
    until: Annotated[str | None, typer.Option("--until", help="End at this time.")] = None
    idle: Annotated[
        str | None, typer.Option("--idle", help="End when nothing came for so long: 60s.")
    ] = None
    fail_empty: Annotated[
        bool, typer.Option("--fail-empty", help="Exit 3 when there was no point.")
    ] = False


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How it holds on, and how it writes."""

    state: Annotated[
        Path | None, typer.Option("--state", help="Keep the position here; go on from it.")
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 7 when the server has lost something.")
    ] = False
    transport: Annotated[str, typer.Option("--transport", help="auto, ws, sse or poll.")] = "auto"
    template: Annotated[
        str | None, typer.Option("--template", help="Your own line: '{device_id} {value:.1f}'.")
    ] = None


EXAMPLE = """
telemetryctl tail -m temperature --since 5m
telemetryctl tail -d device_001 --for 30s -o jsonl
telemetryctl tail --group north --every 1s --state north.json
telemetryctl tail 'group:north metric:speed' --since 2h --for 10m
telemetryctl tail -n 10 --template '{timestamp} {device_id} {value}'
"""


@command(app, name="tail", example=EXAMPLE)
def tail(
    session: Session, *, select: SelectOptions, stop: StopOptions, follow: FollowOptions
) -> None:
    """Show points as they come: each once, none missing, whatever happens to the connection.

    What happens to it is told on stderr. With --state the next run goes on where this one ended,
    however that was.
    """
    from telemetryctl.client.ladder import follower_of
    from telemetryctl.output.lines import lines_of
    from telemetryctl.output.template import parse_template
    from telemetryctl.transfer.tailing import Tailing

    template = parse_template(follow.template) if follow.template is not None else None
    wanted = wanted_of(select)
    follower = follower_of(session.endpoint, wanted, transport=follow.transport)
    at = times.now()
    stopping, until = _stop(session, stop, at=at, has_since=select.since is not None)
    lines = lines_of(session.renderer, template=template)
    with ExitStack() as stack:
        state = _state(stack, follow.state, wanted) if follow.state is not None else None
        place = _begin(session, select.since, at=at, state=state)
        tailing = Tailing(
            follower=follower,
            lines=lines,
            stop=stopping,
            teller=_teller(session),
            seam=_seam(session, wanted, place=place, until=until),
            place=place,
            state=state,
            is_strict=follow.strict,
        )
        code = tailing.run()
    if code == ExitCode.DONE and stop.fail_empty and not tailing.printed:
        code = ExitCode.NOTHING
    if code != ExitCode.DONE:
        raise typer.Exit(code)


def _teller(session: Session) -> Teller:
    """What is told on stderr has the time of day, as a tail may have run for a while."""
    from telemetryctl.transfer.tailing import Teller

    def tell(text: str) -> None:
        clock = times.now().astimezone(session.zone).strftime("%H:%M:%S")
        session.console.note(f"-- {clock} {text} --")

    console = session.console
    return Teller(tell, detail=lambda text: console.detail(f"   {text}"), flush=console.flush)


def _begin(session: Session, since: str | None, *, at: datetime, state: TailState | None) -> Place:
    """Where to begin: at the saved place, else at the history asked for, else now."""
    from telemetryctl.files.tail_state import Place

    if state is not None and state.place.cursor:
        if since is not None:
            session.console.note(f"going on from {state.path}, so --since is not looked at")
        return state.place
    if since is None:
        return Place()
    instant = times.parse_time(since, at=at, zone=session.zone)
    return Place(since=times.format_rfc3339(instant))


def wanted_of(select: SelectOptions) -> Wanted:
    """The selection as the doors take it. Raises UsageFailure."""
    from telemetryctl.client.doors import DEVICES_MAX, Wanted

    chosen = _selected(select)
    pairs = [text.partition("=") for text in chosen["tag"]]
    if not all(key and equals for key, equals, _ in pairs):
        raise UsageFailure("--tag is KEY=VALUE")
    devices = _names(chosen["device"])
    if len(devices) > DEVICES_MAX:
        raise UsageFailure(
            f"{len(devices)} devices are more than {DEVICES_MAX}", hint="--group, or all of them"
        )
    return Wanted(
        devices=devices,
        metrics=_names(chosen["metric"]),
        tags=tuple((key, value) for key, _, value in pairs),
        groups=_names(chosen["group"]),
        every_ms=_every_ms(select.every),
    )


def _selected(select: SelectOptions) -> dict[str, list[str]]:
    """What options and selectors choose, by kind. Raises UsageFailure."""
    options = (select.device, select.metric, select.group, select.tag)
    chosen = {kind: list(given or ()) for kind, given in zip(KINDS, options, strict=True)}
    for word in chain.from_iterable(text.split() for text in select.selectors or ()):
        kind, _, name = word.partition(":")
        if kind not in KINDS or not name:
            raise UsageFailure(
                f'"{word}" chooses nothing', hint="such as device:bus_7 metric:speed tag:route=20"
            )
        chosen[kind].append(name)
    return chosen


def _names(given: list[str]) -> tuple[str, ...]:
    split = chain.from_iterable(text.split(",") for text in given)
    return tuple(dict.fromkeys(name for name in split if name))


def _every_ms(text: str | None) -> int | None:
    if text is None:
        return None
    every = times.parse_duration(text)
    if not EVERY_MIN <= every <= EVERY_MAX:
        raise UsageFailure("--every is between 100ms and 10s")
    return round(every.total_seconds() * 1000)


def _stop(
    session: Session, options: StopOptions, *, at: datetime, has_since: bool
) -> tuple[Stop, datetime | None]:
    """When to stop, and where history ends when that is in the past. Raises UsageFailure."""
    from telemetryctl.transfer.tailing import Stop

    now_s = time.monotonic()
    ends_s = []
    past = None
    if options.for_ is not None:
        ends_s.append(now_s + times.parse_duration(options.for_).total_seconds())
    if options.until is not None:
        until = times.parse_time(options.until, at=at, zone=session.zone)
        if until > at:
            ends_s.append(now_s + (until - at).total_seconds())
        elif has_since:
            past = until
        else:
            raise UsageFailure(
                f"--until {options.until} lies in the past", hint="with --since it ends history"
            )
    idle_s = times.parse_duration(options.idle).total_seconds() if options.idle else None
    return Stop(options.count, min(ends_s, default=None), idle_s, past is not None), past


def _state(stack: ExitStack, path: Path, wanted: Wanted) -> TailState:
    """The saved state, locked. Raises TryLater when another tail has it."""
    from telemetryctl.files.atomic import BadState, LockHeld, locked
    from telemetryctl.files.tail_state import load_state

    path = path.expanduser()
    try:
        stack.enter_context(locked(path))
        return load_state(path, selection=wanted.selection())
    except LockHeld as error:
        raise TryLater("another tail is at work here", why=str(error)) from error
    except BadState as error:
        raise UsageFailure(str(error), hint="give another --state") from error


def _seam(session: Session, wanted: Wanted, *, place: Place, until: datetime | None) -> Seam | None:
    """History from the place on; None when there is no history to print."""
    if not place.since:
        return None
    from telemetryctl.client.ladder import poll_door
    from telemetryctl.transfer.seam import Seam

    body = _query_body(wanted, since=place.since, until=until)

    def page_of(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        page = session.client.query({**body, "cursor": cursor} if cursor else body)
        return page["data_points"], page["next_cursor"]

    # History is shown whole; what comes while it is read is compared with it, so it is whole too.
    poll = poll_door(session.endpoint, replace(wanted, every_ms=None))
    return Seam(page_of, poll, place.cursor, place.page or None)


def _query_body(wanted: Wanted, *, since: str, until: datetime | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metrics": list(wanted.metrics) or [ANY_METRIC],
        "start_time": since,
        "end_time": times.format_rfc3339(until or times.now() + AHEAD),
        "limit": PAGE_POINTS,
    }
    if wanted.devices:
        body["devices"] = list(wanted.devices)
    if wanted.groups:
        body["groups"] = list(wanted.groups)
    if wanted.tags:
        body["filters"] = {"tags": dict(wanted.tags)}
    return body
