"""`telemetryctl query`: a window of history, as rows, sparklines or charts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.commands.point_options import Devices, Groups, Tags
from telemetryctl.completion import complete_metrics
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.console import printable
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.plot import Size, plot
from telemetryctl.output.render import Column
from telemetryctl.output.sparkline import ASCII_BLOCKS, BLOCKS, can_draw_blocks, sparkline
from telemetryctl.session import Session
from telemetryctl.times import Window
from telemetryctl.transfer.history import (
    PAGE_POINTS_MAX,
    Buckets,
    Point,
    Reader,
    by_series,
    fill,
    side_by_side,
)

AGGREGATIONS = (
    "avg min max sum count median p95 p99 first last rate delta".split()  # noqa: SIM905
)
SPARK_CELLS = 24
PLOT_HEIGHT = 12
PLOTS_MAX = 12
# What a person would choose for the width of a bucket.
NICE_S = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)
KEY_COLUMNS = (
    Column("timestamp", title="TIME", is_fixed=True, is_time=True),
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("metric_name", title="METRIC", is_fixed=True),
)

app = single()


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Which points."""

    device: Devices = None
    group: Groups = None
    tag: Tags = None
    since: Annotated[str, typer.Option("--since", help="From then: 24h, today, a date.")] = "1h"
    until: Annotated[str, typer.Option("--until", help="Up to then, exclusive.")] = "now"


@dataclass(frozen=True, slots=True)
class BucketOptions:
    """What becomes of them."""

    agg: Annotated[
        str | None, typer.Option("--agg", help=f"One or more of {','.join(AGGREGATIONS)}.")
    ] = None
    every: Annotated[str | None, typer.Option("--every", help="A bucket for each 5m.")] = None
    fill: Annotated[
        str | None, typer.Option("--fill", help="Rows for empty buckets: null or prev.")
    ] = None


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """How they are shown."""

    plot: Annotated[bool, typer.Option("--plot", help="A chart of each series.")] = False
    spark: Annotated[bool, typer.Option("--spark", help="A line of blocks for each.")] = False
    limit: Annotated[int, typer.Option("--limit", help="At most so many points.")] = PAGE_POINTS_MAX
    all: Annotated[bool, typer.Option("--all", help="All points, however many.")] = False
    fail_empty: Annotated[
        bool, typer.Option("--fail-empty", help="Exit 3 when there is no point.")
    ] = False


EXAMPLE = """
telemetryctl query temperature -d device_001 --since 24h --every 1h --agg avg,p95
telemetryctl query temperature humidity --since today --tag room=lab -o csv --all
telemetryctl query speed -d bus_2010 --since 6h --plot
"""


@command(app, name="query", example=EXAMPLE)
def query(
    session: Session,
    metrics: Annotated[list[str], typer.Argument(help="Metrics.", autocompletion=complete_metrics)],
    *,
    select: SelectOptions,
    bucket: BucketOptions,
    show: ShowOptions,
) -> None:
    """Read a window of history. The window that was asked is told on stderr."""
    is_drawn = show.plot or show.spark
    aggregations = _aggregations(bucket, is_drawn=is_drawn)
    if show.limit < 1:
        raise UsageFailure("--limit is 1 or more", hint="--all has no limit")
    window = session.window(select.since, until=select.until)
    every = _every(bucket, window, cells=_cells(show) if is_drawn else 0)
    if bucket.fill is not None and (bucket.fill not in ("null", "prev") or every is None):
        raise UsageFailure("--fill is null or prev, and needs --every")
    body = _body(metrics, select=select, window=window)
    if every is not None:
        body["interval"] = round(every.total_seconds())
    limit = None if show.all or is_drawn else show.limit
    readers = {
        aggregation: Reader(
            session.client, {**body, "aggregation": aggregation} if aggregation else body, limit
        )
        for aggregation in aggregations
    }
    if is_drawn:
        count = _show_series(session, readers, window=window, every=every, show=show)
    elif aggregations == [""] and not session.renderer.is_document:
        count = _show_rows(session, readers[""])
    else:
        grid = Buckets(window.start, window.end, every) if every and bucket.fill else None
        count = _show_buckets(session, readers, grid=grid, keeps_previous=bucket.fill == "prev")
    _tell(session, count, readers=readers, show=show)


def _aggregations(bucket: BucketOptions, *, is_drawn: bool) -> list[str]:
    """The aggregations asked for; the empty one stands for the points themselves."""
    if bucket.agg is None:
        return ["avg"] if bucket.every is not None or is_drawn else [""]
    names = [name.strip() for name in bucket.agg.split(",")]
    for name in names:
        if name not in AGGREGATIONS:
            raise UsageFailure(f'"{name}" is not an aggregation', hint=", ".join(AGGREGATIONS))
    return list(dict.fromkeys(names))


def _cells(show: ShowOptions) -> int:
    return SPARK_CELLS if show.spark else 2 * (shutil.get_terminal_size().columns - 10)


def _every(bucket: BucketOptions, window: Window, *, cells: int) -> timedelta | None:
    """The width of a bucket: as asked, or for a picture so that its cells are just filled."""
    if bucket.every is not None:
        every = times.parse_duration(bucket.every)
        if every < timedelta(seconds=1) or every % timedelta(seconds=1):
            raise UsageFailure("--every is whole seconds", hint="such as 10s, 5m or 1h")
        return every
    if not cells:
        return None
    least_s = (window.end - window.start).total_seconds() / cells
    nice_s = next((s for s in NICE_S if s >= least_s), None)
    return timedelta(seconds=nice_s or -(-least_s // 86_400) * 86_400)


def _body(metrics: list[str], *, select: SelectOptions, window: Window) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metrics": list(dict.fromkeys(chain(*(text.split(",") for text in metrics)))),
        "start_time": times.format_rfc3339(window.start),
        "end_time": times.format_rfc3339(window.end),
    }
    if select.device:
        body["devices"] = list(dict.fromkeys(chain(*(text.split(",") for text in select.device))))
    if select.group:
        body["groups"] = select.group
    if select.tag:
        pairs = [text.partition("=") for text in select.tag]
        if not all(key and equals for key, equals, _ in pairs):
            raise UsageFailure("--tag is KEY=VALUE")
        body["filters"] = {"tags": {key: value for key, _, value in pairs}}
    return body


def _show_rows(session: Session, reader: Reader) -> int:
    """Stored points, a page at a time."""
    counted = _Counted(reader.points())
    columns = (*KEY_COLUMNS, Column("value", is_right=True), Column("unit"), Column("tags"))
    session.renderer.rows(counted, columns=columns)
    return counted.count


class _Counted:
    """Passes rows on and counts them."""

    def __init__(self, rows: Iterator[Point]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Point]:
        for row in self._rows:
            self.count += 1
            yield row


def _show_buckets(
    session: Session, readers: dict[str, Reader], *, grid: Buckets | None, keeps_previous: bool
) -> int:
    """Buckets of one aggregation in the column `value`, of several in one column each."""
    answers = {}
    for aggregation, reader in readers.items():
        points = list(reader.points())
        if grid is not None:
            points = fill(points, buckets=grid, keeps_previous=keeps_previous)
        answers[aggregation] = points
    count = sum(map(len, answers.values()))
    if session.renderer.is_document:
        documents = {name: readers[name].document(points) for name, points in answers.items()}
        only = next(iter(documents.values())) if len(documents) == 1 else None
        session.renderer.listing(
            only or {"data_points": [], "aggregations": documents}, key="data_points", columns=()
        )
        return count
    single_answer = next(iter(answers.values())) if len(answers) == 1 else None
    rows = single_answer if single_answer is not None else side_by_side(answers)
    values = ["value"] if single_answer is not None else list(answers)
    columns = [*KEY_COLUMNS, *(Column(name, is_right=True) for name in values), Column("unit")]
    if any("count" in row for row in rows[:1]) and "count" not in values:
        columns.append(Column("count", is_right=True))
    session.renderer.rows(rows, columns=columns)
    return count


def _show_series(
    session: Session,
    readers: dict[str, Reader],
    *,
    window: Window,
    every: timedelta | None,
    show: ShowOptions,
) -> int:
    """A line or a chart for each series and aggregation."""
    assert every is not None
    grid = Buckets(window.start, window.end, every)
    count = 0
    summaries = []
    for aggregation, reader in readers.items():
        for (device_id, metric_name), points in by_series(list(reader.points())).items():
            count += len(points)
            samples = _samples(points, grid)
            row = _summary(points, samples, aggregation=aggregation)
            row |= {"device_id": device_id, "metric_name": metric_name}
            summaries.append(row)
            if show.plot and len(summaries) <= PLOTS_MAX:
                _write_plot(session, row, samples=samples, window=window)
    if show.plot and len(summaries) > PLOTS_MAX:
        session.console.note(f"{len(summaries) - PLOTS_MAX:,} more series; -d chooses devices")
    if show.spark:
        session.renderer.rows(summaries, columns=_spark_columns(readers, session))
    return count


def _samples(points: list[Point], grid: Buckets) -> list[tuple[datetime, float | None]]:
    at = {datetime.fromisoformat(p["timestamp"]).astimezone(UTC): _number(p) for p in points}
    instants = grid.instants()
    return [(instant, at.get(instant)) for instant in instants]


def _number(point: Point) -> float | None:
    value = point["value"]
    return float(value) if isinstance(value, (int, float)) else None


def _summary(
    points: list[Point], samples: list[tuple[datetime, float | None]], *, aggregation: str
) -> dict[str, Any]:
    known = [value for _, value in samples if value is not None]
    blocks = BLOCKS if can_draw_blocks() else ASCII_BLOCKS
    return {
        "aggregation": aggregation,
        "unit": points[-1].get("unit"),
        "min": _short(min(known, default=None)),
        "avg": _short(sum(known) / len(known) if known else None),
        "max": _short(max(known, default=None)),
        "last": _short(known[-1] if known else None),
        "spark": sparkline([value for _, value in samples], blocks=blocks),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _spark_columns(readers: dict[str, Reader], session: Session) -> list[Column]:
    columns = [*KEY_COLUMNS[1:], Column("unit")]
    if len(readers) > 1:
        columns.append(Column("aggregation", title="AGG"))
    columns += [Column(name, is_right=True) for name in ("min", "avg", "max", "last")]
    return [*columns, Column("spark", is_fixed=True)]


def _write_plot(
    session: Session,
    row: dict[str, Any],
    *,
    samples: list[tuple[datetime, float | None]],
    window: Window,
) -> None:
    unit = f" ({row['unit']})" if row["unit"] else ""
    title = f"{row['device_id']}  {row['aggregation']} {row['metric_name']}{unit}"
    size = Size(shutil.get_terminal_size().columns, PLOT_HEIGHT, is_ascii=not can_draw_blocks())
    zone = session.zone
    lines = plot(
        [(instant.astimezone(zone), value) for instant, value in samples],
        start=window.start.astimezone(zone),
        end=window.end.astimezone(zone),
        size=size,
    )
    session.console.write("\n".join([printable(title), *(lines or ["no numbers"]), ""]) + "\n")


def _tell(session: Session, count: int, *, readers: dict[str, Reader], show: ShowOptions) -> None:
    if any(reader.is_truncated for reader in readers.values()):
        session.console.note(f"cut after {show.limit:,} points; --all reads the rest")
    if not count:
        session.console.note("no points in the window")
        if show.fail_empty:
            raise typer.Exit(ExitCode.NOTHING)
