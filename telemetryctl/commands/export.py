"""`telemetryctl export`: history into files that are whole, once or again and again from cron."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import IO, Annotated

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.point_options import Devices, Groups, Metrics
from telemetryctl.failures import GapFound, TryLater, UsageFailure
from telemetryctl.files.atomic import BadState, LockHeld, locked
from telemetryctl.files.export_state import ExportState, Pending, commit, load_state, settle
from telemetryctl.files.parts import GZIP_LEVEL
from telemetryctl.files.points import UnreadableFile
from telemetryctl.files.targets import Targets
from telemetryctl.options import command, noun
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.progress import Progress
from telemetryctl.session import Session
from telemetryctl.transfer.exporting import (
    Answer,
    Exported,
    Fetch,
    Query,
    export_new,
    export_range,
    export_stream,
)

STDOUT = "-"

app = noun("Write history to files.")


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """What is exported."""

    device: Devices = None
    metric: Metrics = None
    group: Groups = None
    since: Annotated[str | None, typer.Option("--since", help="From then: 7d, yesterday.")] = None
    until: Annotated[str, typer.Option("--until", help="Up to then, exclusive.")] = "now"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where it goes."""

    out: Annotated[
        str,
        typer.Option("-O", "--out", help="A file, 'data/%Y-%m-%d.csv.gz' or - for stdout."),
    ] = STDOUT
    split: Annotated[
        str | None, typer.Option("--split", help="A file for each span of time: 1d, 1h.")
    ] = None
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress; .gz in the name does too.")] = (
        False
    )
    excel_safe: Annotated[
        bool, typer.Option("--excel-safe", help="Quote text that a spreadsheet would run.")
    ] = False
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave alone the files a stopped run finished.")
    ] = False


@dataclass(frozen=True, slots=True)
class NewOptions:
    """Only what is new."""

    incremental: Annotated[
        bool, typer.Option("--incremental", help="What was stored since the last run.")
    ] = False
    state: Annotated[
        Path | None, typer.Option("--state", help="Where the last run's position is kept.")
    ] = None
    settle: Annotated[
        str | None, typer.Option("--settle", help="Leave out what was stored just now: 5m.")
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 7 when the server lost what was not exported.")
    ] = False


EXAMPLE = """
telemetryctl export csv -m temperature --since 24h
telemetryctl export csv --since 7d --split 1d -O 'data/%Y-%m-%d.csv.gz' --resume
telemetryctl export csv --incremental --state export.json --settle 5m -O 'data/%Y-%m-%d.csv.gz'
"""


@command(app, name="csv", example=EXAMPLE)
def export_csv(
    session: Session, *, select: SelectOptions, files: FileOptions, new: NewOptions
) -> None:
    """Export points as CSV. A file appears under its name only when it is whole.

    An incremental run takes what was stored since the last one, late and corrected points too, and
    appends to files that exist. Nothing new is exit code 3, a run under way 75.
    """
    targets = _targets(session, files)
    query = _query(select, files)
    progress = Progress(session.console)
    fetch = _fetcher(session, progress)
    try:
        if new.incremental or new.state is not None:
            done = _export_new(session, fetch, query=query, options=(select, files, new))
        elif select.since is None:
            raise UsageFailure("--since is needed", hint="such as --since 24h, or --incremental")
        elif is_stream(files.out):
            window = session.window(select.since, until=select.until)
            query = _said_whole(query) | {
                "start_time": times.format_rfc3339(window.start),
                "end_time": times.format_rfc3339(window.end),
            }
            with _stream(files) as output:
                done = Exported(export_stream(fetch, query=query, output=output).rows)
        else:
            window = session.window(select.since, until=select.until)
            done = export_range(
                fetch,
                query=_said_whole(query),
                window=(window.start, window.end),
                targets=targets,
                is_resuming=files.resume,
            )
    except LockHeld as error:
        raise TryLater("another export is at work here", why=str(error)) from error
    except UnreadableFile as error:
        raise TryLater(str(error)) from error
    finally:
        progress.clear()
    _tell(session, done, is_strict=new.strict)


def _targets(session: Session, files: FileOptions) -> Targets:
    split = times.parse_duration(files.split) if files.split is not None else None
    if split is not None and (is_stream(files.out) or "%" not in files.out):
        raise UsageFailure("--split needs a pattern to name the files by", hint="-O '%Y-%m-%d.csv'")
    if split is not None and (split <= timedelta() or split.microseconds):
        raise UsageFailure("--split is whole seconds, such as 1h or 1d")
    # Files are named by UTC unless a zone was asked for: cron jobs on two hosts must agree.
    zone = times.parse_zone(session.flags.tz) if session.flags.tz else UTC
    local = times.now().astimezone().tzinfo or UTC
    return Targets(files.out, zone or local, split, files.gzip)


def _query(select: SelectOptions, files: FileOptions) -> Query:
    query = {} if files.excel_safe else {"raw": "true"}
    for name, chosen in (
        ("device_ids", select.device),
        ("metric_names", select.metric),
        ("groups", select.group),
    ):
        ids = [part for text in chosen or [] for part in text.split(",") if part]
        if ids:
            query[name] = ",".join(ids)
    return query


def _said_whole(query: Query) -> Query:
    """The whole table has to be asked for by name."""
    is_named = query.keys() & {"device_ids", "metric_names", "groups"}
    return query if is_named else query | {"metric_names": "*"}


def _fetcher(session: Session, progress: Progress) -> Fetch:
    @contextmanager
    def fetch(query: Query) -> Iterator[Answer]:
        try:
            with session.client.export_csv(**query) as response:
                yield Answer(
                    _watched(response.iter_bytes(), progress),
                    next_cursor=response.headers.get("x-next-cursor", ""),
                    gap=response.headers.get("x-gap"),
                )
        except ServerProblem as problem:
            if problem.status != 404 or "next_cursor" not in problem.problem:
                if problem.status == 404:  # a server without exports must not look like no news
                    problem.exit_code = ExitCode.REFUSED
                raise problem.during("the export failed") from problem
            # No row is a normal answer, and says how far the server looked.
            cursor = str(problem.problem["next_cursor"] or "")
            gap = problem.problem.get("gap")
            yield Answer(iter(()), next_cursor=cursor, gap=str(gap) if gap else None)

    return fetch


def _watched(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    size_bytes = 0
    for chunk in chunks:
        size_bytes += len(chunk)
        rate = size_bytes / 1e6 / max(progress.elapsed_s, 0.001)
        progress.update(f"{size_bytes / 1e6:,.1f} MB, {rate:,.1f} MB/s")
        yield chunk


def is_stream(out: str) -> bool:
    """Whether rows go there as they come: stdout, a pipe or a device, which no file may replace."""
    if out == STDOUT:
        return True
    path = Path(out).expanduser()
    if path.is_dir():
        raise UsageFailure(f"{out} is a folder", hint=f"-O '{out.rstrip('/')}/%Y-%m-%d.csv.gz'")
    return path.exists() and not path.is_file()


@contextmanager
def _stream(files: FileOptions) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        sys.stdout.flush()
        output: IO[bytes] = sys.stdout.buffer
        if files.out != STDOUT:
            output = stack.enter_context(Path(files.out).expanduser().open("wb"))
        if files.gzip:
            packed = gzip.GzipFile("", "wb", GZIP_LEVEL, output, mtime=0)
            output = stack.enter_context(packed)  # type: ignore[arg-type]
        yield output


def _export_new(
    session: Session,
    fetch: Fetch,
    *,
    query: Query,
    options: tuple[SelectOptions, FileOptions, NewOptions],
) -> Exported:
    select, files, new = options
    if new.state is None:
        raise UsageFailure("--incremental needs --state FILE", hint="--state export.json")
    if select.since is not None or select.until != "now":
        raise UsageFailure("--incremental goes by the time of storing, so it takes no --since")
    if new.settle is not None:
        query = {**query, "settle_s": f"{times.parse_duration(new.settle).total_seconds():.0f}"}
    path = new.state.expanduser()
    with locked(path):
        state = _open_state(path, query)
        was_left = settle(state)
        if was_left:
            session.console.note("finished what a stopped run left")
        if is_stream(files.out):
            return _stream_new(fetch, query=query, state=state, files=files)
        targets = _targets(session, files)
        done = export_new(fetch, query=query, state=state, targets=targets, at=times.now())
        return replace(done, was_left=was_left)


def _open_state(path: Path, query: Query) -> ExportState:
    names = ("device_ids", "metric_names")
    selection = {name: sorted(query[name].split(",")) if name in query else [] for name in names}
    if "groups" in query:
        selection["groups"] = sorted(query["groups"].split(","))
    try:
        return load_state(path, selection=selection)
    except BadState as error:
        raise UsageFailure(str(error), hint="give another --state") from error


def _stream_new(fetch: Fetch, *, query: Query, state: ExportState, files: FileOptions) -> Exported:
    """To a stream: the position moves after the rows left, so a killed run may repeat them."""
    with _stream(files) as output:
        received = export_stream(fetch, query={**query, "after": state.cursor}, output=output)
    sys.stdout.buffer.flush()
    if received.next_cursor not in ("", state.cursor):
        commit(state, pending=Pending(received.next_cursor, []))
    return Exported(received.rows, gap=received.gap)


def _tell(session: Session, done: Exported, *, is_strict: bool) -> None:
    said = f"exported {done.rows:,} rows"
    if done.files:
        said += f" to {done.files:,} file{'s' if done.files != 1 else ''}"
    session.console.note(said if done.rows else "nothing new")
    if done.gap:
        text = f"gap {done.gap}: the server no longer has what was stored between these positions"
        if is_strict:
            raise GapFound(text, hint="export the window of time again with --since")
        session.console.note(text)
    if not done.rows and not done.was_left:
        raise typer.Exit(ExitCode.NOTHING)
