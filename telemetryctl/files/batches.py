"""Points gathered into request bodies of bounded size, the same ones each time a file is read.

That sameness makes an import resumable: a batch is known by the rows it covers, so the server
answers a repeated one from memory. Numbers and texts go as columns (a fifth of the work for the
server); other values and points with metadata go as rows, by device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from telemetryctl.files.binding import Binding
from telemetryctl.files.points import Json, Point, Refusal, Row, Tags
from telemetryctl.files.stamps import format_stamp

COLUMNS_POINTS_MAX = 100_000  # contract section 1
BULK_POINTS_MAX = 10_000
# Older stamps would be taken for milliseconds on the wire, as their numbers are smaller.
OLDEST_US = 10**14
POINT_BYTES = 44  # a stamp, a number, two commas; texts add their length


@dataclass(slots=True)
class Series:
    """Neighbouring points of one device and metric that share unit and tags; parallel lists."""

    device_id: str
    metric_name: str
    unit: str | None
    tags: Tags
    timestamps: list[int] = field(default_factory=list)
    values: list[float | int | str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Json]:
        body: dict[str, Json] = {
            "device_id": self.device_id,
            "metric_name": self.metric_name,
            "timestamps": list(self.timestamps),
            "values": list(self.values),
        }
        if self.unit is not None:
            body["unit"] = self.unit
        if self.tags:
            body["tags"] = dict(self.tags)
        return body


@dataclass(slots=True)
class Batch:
    """The points of rows `row_from` to `row_to` (exclusive; the first row of a file is 0)."""

    row_from: int
    row_to: int = 0
    series: list[Series] = field(default_factory=list)
    others: list[Point] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    points: int = 0
    empty_rows: int = 0
    size_bytes: int = 0
    _open: dict[tuple[str, str], Series] = field(default_factory=dict)

    def add(self, point: Point) -> None:
        self.points += 1
        value = point.value
        if isinstance(value, (bool, list, dict)) or point.metadata is not None:
            self.others.append(point)
            self.size_bytes += 4 * POINT_BYTES + _size_bytes(value) + _size_bytes(point.metadata)
            return
        self.size_bytes += POINT_BYTES + (_size_bytes(value) if isinstance(value, str) else 0)
        # A change of tags opens a new series, even back to earlier ones: among points with one
        # stamp the last row of the file must also be the last of the body.
        key = (point.device_id, point.metric_name)
        series = self._open.get(key)
        if series is None or series.tags != point.tags or series.unit != point.unit:
            series = Series(point.device_id, point.metric_name, point.unit, point.tags)
            self._open[key] = series
            self.series.append(series)
            self.size_bytes += 4 * POINT_BYTES + sum(len(k) + len(v) + 8 for k, v in point.tags)
        series.timestamps.append(point.time_us)
        series.values.append(value)
        series.lines.append(point.line)


def _size_bytes(value: Json) -> int:
    """An upper estimate of the JSON text: four bytes for a character that is not ASCII."""
    if isinstance(value, str):
        return len(value) + 2 if value.isascii() else 4 * len(value) + 2
    if isinstance(value, dict):
        return sum(_size_bytes(k) + _size_bytes(v) + 2 for k, v in value.items()) + 2
    return sum(_size_bytes(v) + 2 for v in value) + 2 if isinstance(value, list) else 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a batch ends: at the first row that reaches one of these."""

    points_max: int
    bytes_max: int
    keeps_rows: bool = False


def batches(
    rows: Iterator[tuple[int, Row | Refusal]],
    binding: Binding,
    *,
    bounds: Bounds,
    skip_rows: int = 0,
    shift_us: int = 0,
) -> Iterator[Batch]:
    """Gather all rows from number `skip_rows` on. Every row belongs to exactly one batch."""
    index = skip_rows
    batch = Batch(row_from=index)
    for line, row in _skipped(rows, skip_rows):
        index += 1
        _add_row(batch, binding, line=line, row=row, shift_us=shift_us)
        if bounds.keeps_rows and not isinstance(row, Refusal):
            batch.rows[line] = row
        is_full = batch.points >= bounds.points_max or batch.size_bytes >= bounds.bytes_max
        if is_full or index - batch.row_from >= COLUMNS_POINTS_MAX:
            batch.row_to = index
            yield batch
            batch = Batch(row_from=index)
    if index > batch.row_from:
        batch.row_to = index
        yield batch


def _skipped(
    rows: Iterator[tuple[int, Row | Refusal]], count: int
) -> Iterator[tuple[int, Row | Refusal]]:
    for _ in range(count):
        if next(rows, None) is None:
            return
    yield from rows


def _add_row(
    batch: Batch, binding: Binding, *, line: int, row: Row | Refusal, shift_us: int
) -> None:
    if isinstance(row, Refusal):
        batch.refused.append(row)
        return
    points, refused = binding.points(line, row)
    batch.refused.extend(refused)
    if not points:
        batch.empty_rows += not refused
    elif points[0].time_us + shift_us < OLDEST_US:
        batch.refused.append(Refusal(line, "too_old", "the time lies before 1973-03-03"))
        return
    for point in points:
        batch.add(point._replace(time_us=point.time_us + shift_us) if shift_us else point)


@dataclass(frozen=True, slots=True)
class Request:
    """One body and how to read its answer.

    kind    `columns` or `bulk`, the endpoint
    lines   the line of each point: by series, or by device, as the body has them
    """

    kind: str
    batch_id: str
    body: dict[str, Json]
    lines: dict[str, list[int]] | list[list[int]]
    points: int


def requests_of(batch: Batch, *, prefix: str) -> list[Request]:
    """The bodies of a batch, columns first. Their ids depend on the prefix and the rows alone."""
    name = f"{prefix}-{batch.row_from}-{batch.row_to}"
    requests = []
    if batch.series:
        body: dict[str, Json] = {
            "series": [series.as_json() for series in batch.series],
            "batch_id": f"{name}-c",
        }
        count = sum(len(series.lines) for series in batch.series)
        lines = [series.lines for series in batch.series]
        requests.append(Request("columns", f"{name}-c", body, lines, count))
    for start in range(0, len(batch.others), BULK_POINTS_MAX):
        part = batch.others[start : start + BULK_POINTS_MAX]
        requests.append(_bulk(part, f"{name}-b{start}"))
    return requests


def _bulk(points: list[Point], batch_id: str) -> Request:
    devices: dict[str, list[Json]] = {}
    lines: dict[str, list[int]] = {}
    for point in points:
        row: dict[str, Json] = {
            "timestamp": format_stamp(point.time_us),
            "metric_name": point.metric_name,
            "value": point.value,
        }
        if point.unit is not None:
            row["unit"] = point.unit
        if point.tags:
            row["tags"] = dict(point.tags)
        if point.metadata is not None:
            row["metadata"] = point.metadata
        devices.setdefault(point.device_id, []).append(row)
        lines.setdefault(point.device_id, []).append(point.line)
    return Request("bulk", batch_id, dict(devices), lines, len(points))


def refusals_in(request: Request, answer: dict[str, Json]) -> list[Refusal]:
    """The points that the server refused, by the lines they came from."""
    if request.kind == "columns":
        errors = answer.get("errors")
        return [_refusal(request, error, None) for error in _list(errors)]
    results = answer.get("results")
    found: list[Refusal] = []
    for device_id, result in results.items() if isinstance(results, dict) else ():
        errors = result.get("errors") if isinstance(result, dict) else None
        found.extend(_refusal(request, error, device_id) for error in _list(errors))
    return found


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _refusal(request: Request, error: Json, device_id: str | None) -> Refusal:
    fields = error if isinstance(error, dict) else {}
    line = _line(request, fields.get("index"), device_id)
    code, detail = str(fields.get("code", "bad_value")), str(fields.get("detail", ""))
    return Refusal(line, code, detail)


def _line(request: Request, index: Json, device_id: str | None) -> int:
    """The line of an error's index: `[series, point]` for columns, the point's place for bulk.

    0 when the server names a whole series or something unknown.
    """
    try:
        if isinstance(request.lines, dict):
            return request.lines[device_id or ""][int(str(index))]
        series, point = index if isinstance(index, list) else (None, None)
        return request.lines[int(str(series))][int(str(point))]
    except (LookupError, TypeError, ValueError):
        return 0
