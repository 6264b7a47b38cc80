"""Sending points: a few from the command line, or files of them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl import times, writing
from telemetryctl.commands.device import parse_pairs
from telemetryctl.completion import complete_devices
from telemetryctl.failures import PartlyDone, Refused, UsageFailure
from telemetryctl.files.refusals import Refusals
from telemetryctl.options import command, single
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = single()

COLUMNS = (Column("ingested_count"), Column("failed_count"), Column("total_count"))
COMPRESSIONS = ("none", "gzip", "zstd", "lz4")
BATCH_ID_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class Typed:
    """Points typed on the command line; they all have one time and the same tags."""

    device_id: Annotated[
        str | None, typer.Argument(help="The device.", autocompletion=complete_devices)
    ] = None
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="METRIC=VALUE", help="JSON values; bare words are text."),
    ] = None
    units: Annotated[
        list[str] | None, typer.Option("--unit", metavar="METRIC=UNIT", help="A metric's unit.")
    ] = None
    time: Annotated[str, typer.Option(help="When it was measured.")] = "now"
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="K=V", help="A tag; repeat it.")
    ] = None

    def points(self, session: Session) -> list[dict[str, Any]]:
        """Return the points. Raises UsageFailure."""
        at = times.parse_time(self.time, at=times.now(), zone=session.zone)
        shared = {"timestamp": times.format_rfc3339(at)}
        tags = {"tags": parse_pairs(self.tags)} if self.tags else {}
        units = parse_pairs(self.units or ())
        assignments = writing.parse_assignments(self.values or ())
        if unknown := set(units) - {name for name, _ in assignments}:
            raise UsageFailure(f'--unit names "{min(unknown)}", which has no value here')
        return [
            shared
            | {"metric_name": name, "value": value}
            | ({"unit": units[name]} if name in units else {})
            | tags
            for name, value in assignments
        ]


@dataclass(frozen=True, slots=True)
class Sending:
    """How points are sent."""

    batch: Annotated[
        int, typer.Option(help="Points a request.", min=1, max=writing.BATCH_POINTS_MAX)
    ] = writing.BATCH_POINTS_MAX
    rate: Annotated[str | None, typer.Option(help="Not faster than this: 5k/s.")] = None
    compress: Annotated[str, typer.Option(help="none, gzip, zstd or lz4.")] = "none"
    errors_file: Annotated[
        Path | None, typer.Option(help="Append refused points here (.csv, else JSON Lines).")
    ] = None
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only let the server check them.")
    ] = False
    prefix: Annotated[
        str | None,
        typer.Option(
            "--batch-id-prefix", help="The same prefix and file again store nothing twice."
        ),
    ] = None


@command(
    app,
    example="""telemetryctl write device_001 temperature=21.5 door=open --unit temperature=celsius
    telemetryctl write device_001 'position={"lat": 22.3, "lon": 114.2}' --time 10m
    telemetryctl write -f points.jsonl --errors-file refused.jsonl
    sensor | telemetryctl write -f - --device device_001""",
)
def write(
    session: Session,
    *,
    typed: Typed,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="A file of points; - is stdin.")
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="auto, json, jsonl or csv.")
    ] = "auto",
    device: Annotated[
        str | None, typer.Option("--device", help="The device of points that name none.")
    ] = None,
    sending: Sending,
) -> None:
    """Send points. Exits with 5 when all are refused, with 6 when some are."""
    if sending.compress not in COMPRESSIONS:
        raise UsageFailure(
            f'"{sending.compress}" is not a compression', hint=", ".join(COMPRESSIONS)
        )
    if len(sending.prefix or "") > BATCH_ID_CHARS_MAX:
        raise UsageFailure(f"--batch-id-prefix has more than {BATCH_ID_CHARS_MAX} characters")
    if file is None:
        _write_typed(session, typed=typed, sending=sending)
        return
    if typed.device_id or typed.values:
        raise UsageFailure("points come from a file or from the command line, not from both")
    if file == "-" and sys.stdin is None:
        raise UsageFailure("stdin is closed, so it holds no points")
    if file == "-" and session.flags.token_stdin:
        raise UsageFailure("stdin can't hold both the key and the points", hint="--token-file")
    if file_format not in writing.FORMATS:
        raise UsageFailure(
            f'"{file_format}" is not a format of points', hint=", ".join(writing.FORMATS)
        )
    lines = writing.Lines(file, format=file_format, device_id=device)
    batches = writing.gather(lines, batch_points=sending.batch)
    _write_batches(session, batches=batches, source=file, sending=sending)


def _write_typed(session: Session, *, typed: Typed, sending: Sending) -> None:
    if not typed.device_id or not typed.values:
        raise UsageFailure(
            "a device and at least one METRIC=VALUE are needed",
            hint="telemetryctl write device_001 temperature=21.5, or -f FILE",
        )
    points = typed.points(session)
    if len(points) > writing.BATCH_POINTS_MAX:
        raise UsageFailure(f"more than {writing.BATCH_POINTS_MAX} points", hint="-f FILE")
    batch = writing.Batch(number=0)
    for number, point in enumerate(points, start=1):
        row = {"device_id": typed.device_id, **point}
        batch.add(number, row, row=row)
    _write_batches(session, batches=iter([batch]), source="arguments", sending=sending)


def _write_batches(
    session: Session, *, batches: Iterator[writing.Batch], source: str, sending: Sending
) -> None:
    pace = _pace(sending.rate)
    prefix = sending.prefix or writing.new_prefix()
    refusals = Refusals(sending.errors_file)
    stored = 0
    try:
        for batch in batches:
            if pace is not None:
                pace.wait(batch.size)
            answer = _send(session, batch=batch, prefix=prefix, sending=sending)
            stored += int(answer.get("ingested_count") or 0)
            for refusal, row in batch.refusals(answer):
                _tell(session, refusal, count=refusals.total)
                refusals.add(source, refusal, row=row, columns=())
            refusals.flush()
    finally:
        refusals.close()
    _report(session, stored=stored, refusals=refusals, is_dry_run=sending.is_dry_run)


def _pace(rate: str | None) -> Any:
    if rate is None:
        return None
    from telemetryctl.transfer.pace import Pace, parse_rate

    return Pace(parse_rate(rate))


def _send(
    session: Session, *, batch: writing.Batch, prefix: str, sending: Sending
) -> dict[str, Any]:
    compression = None if sending.compress == "none" else sending.compress
    if not batch.points:
        return {}
    if len(batch.points) > 1:
        # A bulk has no id; sent twice, its points overwrite themselves.
        return session.client.send_bulk(
            batch.points, is_dry_run=sending.is_dry_run, compression=compression
        )
    [(device_id, points)] = batch.points.items()
    return session.client.send_batch(
        device_id,
        points=points,
        batch_id=f"{prefix}-{batch.number}",
        is_dry_run=sending.is_dry_run,
        compression=compression,
    )


SHOWN_REFUSALS_MAX = 10


def _tell(session: Session, refusal: Any, *, count: int) -> None:
    """Name the first refused points on stderr; the rest is in the file and in the summary."""
    if count < SHOWN_REFUSALS_MAX:
        session.console.note(f"point {refusal.line}: {refusal.detail} ({refusal.code})")
    elif count == SHOWN_REFUSALS_MAX:
        session.console.note("more points are refused; --errors-file keeps them all")


def _report(session: Session, *, stored: int, refusals: Refusals, is_dry_run: bool) -> None:
    total = stored + refusals.total
    if session.settings.output:
        counts = {"ingested_count": stored, "failed_count": refusals.total, "total_count": total}
        session.renderer.item(counts, columns=COLUMNS)
    verb = "would be stored" if is_dry_run else "stored"
    if not refusals.total:
        session.console.note(f"{stored:,} {'point' if stored == 1 else 'points'} {verb}")
        return
    where = f" -> {refusals.path}" if refusals.path else ""
    text = f"{stored:,} of {total:,} points {verb} ({refusals.summary()}{where})"
    hint = "" if refusals.path else "--errors-file FILE keeps the refused points"
    raise PartlyDone(text, hint=hint) if stored else Refused(text, hint=hint)
