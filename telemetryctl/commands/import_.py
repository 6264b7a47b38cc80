"""`telemetryctl import`: files of history into the server."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from telemetryctl import times
from telemetryctl.failures import Failure, PartlyDone, Refused, TryLater, UsageFailure
from telemetryctl.files.atomic import LockHeld
from telemetryctl.files.batches import Bounds
from telemetryctl.files.mapping import BadMapping, Constants, Mapping, Source, parse_mapping
from telemetryctl.files.points import UnreadableFile
from telemetryctl.files.refusals import Refusals
from telemetryctl.files.rows import FORMATS, Table
from telemetryctl.files.stamps import EPOCH, MICROSECOND
from telemetryctl.options import command, single
from telemetryctl.output.progress import Progress
from telemetryctl.session import Session
from telemetryctl.transfer.definitions import Definition, define_metrics
from telemetryctl.transfer.importing import (
    Import,
    Reading,
    default_state_path,
    is_file,
    newest_us,
)
from telemetryctl.transfer.pace import Pace, parse_rate
from telemetryctl.transfer.uploader import Sending, Uploader

BATCH_POINTS = 20_000
BATCH_POINTS_MAX = 90_000  # a row adds all its metrics, so this stays below the server's 100,000
# Uncompressed the wire takes 4 MiB (contract section 1); decoded 16 MiB.
BATCH_BYTES_MAX = 3 * 1024 * 1024
JOBS_MAX = 16
COMPRESSIONS = ("gzip", "zstd", "lz4", "none")
KIND_TYPES = {
    "num": "numeric",
    "str": "string",
    "bool": "boolean",
    "json": "json",
    "geo": "geolocation",
}

app = single()


@dataclass(frozen=True, slots=True)
class MapOptions:
    """What the columns mean."""

    map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TARGET=SOURCE[:UNIT],…",
            help="What columns mean. TARGET: timestamp, device, metric, value, unit, tags, "
            "tags.KEY or a metric's name. SOURCE: COLUMN, num(COLUMN), str(…), bool(…), json(…) or "
            "geo(LAT,LON[,ALT[,ACCURACY]]). Columns called timestamp, device_id, metric_name, "
            "value, unit, tags need none.",
        ),
    ] = None
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="The device, when no column says it.")
    ] = None
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="The metric of the value column.")
    ] = None
    unit: Annotated[str | None, typer.Option("--unit", help="The unit of all values.")] = None
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag of every point.")
    ] = None
    name: Annotated[
        str | None,
        typer.Option("--name", help="What files' names say, such as {metric}_{device}."),
    ] = None
    format: Annotated[str, typer.Option("--format", help="auto, csv or jsonl.")] = "auto"
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", help="Between CSV cells. [comma]")
    ] = None


@dataclass(frozen=True, slots=True)
class TimeOptions:
    """When it was."""

    assume_utc: Annotated[
        bool, typer.Option("--assume-utc", help="Stamps without a zone are UTC; or use --tz.")
    ] = False
    shift_to: Annotated[
        str | None,
        typer.Option("--shift-to", help="Move all stamps so that the newest is then: now."),
    ] = None


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How it is sent."""

    batch: Annotated[int, typer.Option("--batch", help="Points a request.")] = BATCH_POINTS
    jobs: Annotated[
        int,
        typer.Option("--jobs", help="Requests at once; above 1, rows of one stamp may swap."),
    ] = 1
    rate: Annotated[str | None, typer.Option("--rate", help="At most 5k/s, 300/m.")] = None
    compress: Annotated[str, typer.Option("--compress", help="gzip, zstd, lz4, none.")] = "gzip"
    errors_file: Annotated[
        Path | None,
        typer.Option("--errors-file", help="Refused rows with the reason; .csv or .jsonl."),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the server check everything, store nothing.")
    ] = False
    define: Annotated[
        bool, typer.Option("--define", help="Define mapped metrics the server doesn't know.")
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped import was.")] = (
        False
    )
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep the position here; implies --resume.")
    ] = None


EXAMPLE = """
telemetryctl import readings.csv
telemetryctl import cpu_24ae8d.csv.gz --name '{metric}_{device}' --unit percent --assume-utc
telemetryctl import buses.csv.gz --map device=vehicle_id,speed=speed:mph --map tags.route=route_id \
--map 'position=geo(latitude,longitude)' --define --shift-to now
telemetryctl import big.jsonl.gz --rate 5k/s --errors-file refused.jsonl --resume
"""


@command(app, name="import", example=EXAMPLE)
def import_files(
    session: Session,
    files: Annotated[
        list[str], typer.Argument(help="CSV or JSON Lines, plain or gzip; - is stdin.")
    ],
    *,
    mapping: MapOptions,
    time: TimeOptions,
    sending: SendOptions,
) -> None:
    """Load files of history. A row that is refused is counted, and kept with --errors-file."""
    _check(sending)
    reading = _reading(session, mapping=mapping, time=time, sending=sending)
    _check_errors_file(sending.errors_file, files)
    keeps_state = all(map(is_file, files)) and not sending.dry_run
    progress = Progress(session.console)
    run = Import(
        names=files,
        reading=reading,
        state_path=_state_path(session, files, given=sending.state) if keeps_state else None,
        refusals=Refusals(sending.errors_file),
        on_progress=partial(_draw, progress),
    )
    began = times.now()
    try:
        with ExitStack() as stack:
            stack.callback(run.refusals.close)
            is_continued = run.begin(stack, is_resuming=sending.resume or bool(sending.state))
            if not is_continued and time.shift_to is not None:
                run.state.shift_us = _shift_us(session, files, reading=reading, to=time.shift_to)
            if sending.define and not sending.dry_run:
                definitions = _definitions(reading.mapping)
                define_metrics(session.client, definitions, note=session.console.note)
            run.run(partial(_uploader, session, sending, stack))
    except LockHeld as error:
        raise TryLater("this import is already running", why=str(error)) from error
    except UnreadableFile as error:
        raise _unreadable(error, run) from error
    except (KeyboardInterrupt, Failure):
        progress.clear()
        if run.stored and run.state_path is not None:
            said = f"stopped after {run.stored:,} points"
            session.console.note(f"{said}; the same command with --resume goes on")
        raise
    finally:
        progress.clear()
    _tell(session, run, seconds=(times.now() - began).total_seconds(), sending=sending)


def _check(sending: SendOptions) -> None:
    if not 1 <= sending.batch <= BATCH_POINTS_MAX:
        raise UsageFailure(f"--batch is 1 to {BATCH_POINTS_MAX:,} points")
    if not 1 <= sending.jobs <= JOBS_MAX:
        raise UsageFailure(f"--jobs is 1 to {JOBS_MAX}")
    if sending.compress not in COMPRESSIONS:
        raise UsageFailure(f'"{sending.compress}" is not one of {", ".join(COMPRESSIONS)}')


def _check_errors_file(path: Path | None, files: list[str]) -> None:
    """Refused rows are written while the files are read, so it can't be one of them."""
    if path is not None and any(path.resolve() == Path(name).resolve() for name in files):
        raise UsageFailure("--errors-file is one of the files to import")


def _reading(
    session: Session, *, mapping: MapOptions, time: TimeOptions, sending: SendOptions
) -> Reading:
    if mapping.format not in ("auto", *FORMATS):
        raise UsageFailure(f'"{mapping.format}" is not one of auto, {", ".join(FORMATS)}')
    try:
        parsed = parse_mapping(mapping.map or [])
    except BadMapping as error:
        raise UsageFailure(f"--map: {error}", hint="telemetryctl import -h") from error
    points_max = sending.batch
    if sending.rate is not None:  # smaller requests, so that a slow rate flows rather than gushes
        points_max = min(points_max, max(1, int(parse_rate(sending.rate))))
    return Reading(
        mapping=parsed,
        constants=Constants(
            device=mapping.device,
            metric=mapping.metric,
            unit=mapping.unit,
            tags=tuple(sorted(_tags(mapping.tag or []).items())),
            zone=_zone(session, time),
        ),
        bounds=Bounds(points_max, BATCH_BYTES_MAX, keeps_rows=sending.errors_file is not None),
        pattern=mapping.name,
        format=None if mapping.format == "auto" else mapping.format,
        delimiter=mapping.delimiter,
    )


def _zone(session: Session, time: TimeOptions) -> tzinfo | None:
    """The zone of stamps without one: only what was said for this run, never the machine's."""
    if time.assume_utc:
        return UTC
    if session.flags.tz is None:
        return None
    return times.parse_zone(session.flags.tz) or times.now().astimezone().tzinfo


def _tags(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for (key, equals, _), text in zip(pairs, texts, strict=True):
        if not key or not equals:
            raise UsageFailure(f'--tag "{text}" is not KEY=VALUE')
    return {key: value for key, _, value in pairs}


def _state_path(session: Session, files: list[str], *, given: Path | None) -> Path:
    if given is not None:
        return given.expanduser()
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return default_state_path(root / "telemetryctl", files, server=session.settings.server)


def _shift_us(session: Session, files: list[str], *, reading: Reading, to: str) -> int:
    at = times.now()
    target = times.parse_time(to, at=at, zone=session.zone)
    newest = newest_us(files, reading)
    shift_us = (target - EPOCH) // MICROSECOND - newest
    moved = times.format_duration(abs(shift_us) * MICROSECOND)
    session.console.note(f"stamps are moved by {moved} to end at {times.format_rfc3339(target)}")
    return shift_us


def _definitions(mapping: Mapping) -> list[Definition]:
    """What the mapping says of its metrics; the server infers the kinds of the others."""
    kinds = {name: _type_of(source) for name, source in mapping.metrics.items()}
    return [
        Definition(name, data_type, mapping.metrics[name].unit)
        for name, data_type in kinds.items()
        if data_type is not None
    ]


def _type_of(source: Source) -> str | None:
    return "numeric" if source.kind == "auto" and source.unit else KIND_TYPES.get(source.kind)


def _uploader(session: Session, sending: SendOptions, stack: ExitStack, prefix: str) -> Uploader:
    pace = None
    if sending.rate is not None:
        pace = Pace(parse_rate(sending.rate))
        stack.callback(pace.close)
    compression = None if sending.compress == "none" else sending.compress
    return Uploader(
        session.client, Sending(prefix, sending.jobs, compression, sending.dry_run, pace)
    )


def _draw(progress: Progress, table: Table, run: Import) -> None:
    fraction = table.read_bytes() / table.size_bytes if table.size_bytes else None
    rate = run.stored / max(progress.elapsed_s, 0.001)
    progress.update(f"{run.stored:,} points, {rate:,.0f}/s  {table.name}", fraction=fraction)


def _unreadable(error: UnreadableFile, run: Import) -> UsageFailure | PartlyDone:
    if run.stored:
        return PartlyDone(
            str(error), why=f"{run.stored:,} points before that are stored", hint="--resume"
        )
    return UsageFailure(str(error))


def _tell(session: Session, run: Import, *, seconds: float, sending: SendOptions) -> None:
    """The line at the end, and the exit code of what was refused."""
    verb = "would be stored" if sending.dry_run else "stored"
    refused = run.refusals.total
    skipped = f", {run.skipped_rows:,} rows were done before" if run.skipped_rows else ""
    empty = f", {run.empty_rows:,} rows have no value" if run.empty_rows else ""
    text = f"{run.stored:,} points of {run.rows:,} rows {verb} in {seconds:.1f} s{skipped}{empty}"
    if not refused:
        session.console.note(text)
        return
    kept = f" (rows in {sending.errors_file})" if sending.errors_file else ""
    hint = "" if sending.errors_file else "--errors-file refused.jsonl keeps the rows"
    kind = PartlyDone if run.stored else Refused
    raise kind(f"{text}; {run.refusals.summary()}{kept}", hint=hint)
