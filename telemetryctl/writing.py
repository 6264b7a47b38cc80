"""Points as `write` takes them: typed on the command line, or in files of points.

A file's points go to the server as they are, since it is the one that judges them; files that
need a mapping are the business of `import`.
"""

import json
import math
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telemetryctl.failures import UsageFailure
from telemetryctl.files.points import Refusal, Row, UnreadableFile
from telemetryctl.files.rows import format_of, open_table

BATCH_POINTS_MAX = 1_000
JSON_FILE_BYTES_MAX = 256 * 1024 * 1024
FORMATS = ("auto", "json", "jsonl", "csv")
POINT_FIELDS = ("timestamp", "metric_name", "value", "unit", "tags", "metadata")

Point = dict[str, Any]


def parse_value(text: str) -> Any:
    """Return the value of JSON text; a bare word is a string. Raises UsageFailure for NaN."""
    value = _cell_value(text)
    if not is_finite(value):
        raise UsageFailure(f"{text} is not a finite number", hint="""'"NaN"' is the text NaN""")
    return value


def is_finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity in it; Python reads them, JSON hasn't got them."""
    match value:
        case float():
            return math.isfinite(value)
        case dict():
            return all(map(is_finite, value.values()))
        case list():
            return all(map(is_finite, value))
    return True


def parse_assignments(texts: Sequence[str]) -> list[tuple[str, Any]]:
    """Return metric and value of `METRIC=VALUE` texts. Raises UsageFailure."""
    pairs = []
    for text in texts:
        metric_name, equals, value = text.partition("=")
        if not metric_name or not equals:
            raise UsageFailure(f'"{text}" is not METRIC=VALUE', hint="such as temperature=21.5")
        pairs.append((metric_name, parse_value(value)))
    return pairs


def new_prefix() -> str:
    """Return a prefix for batch ids that nobody else has."""
    return f"write-{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Lines:
    """A file of points: where they come from, and whose they are if they don't say it."""

    name: str
    format: str = "auto"
    device_id: str | None = None

    def read(self) -> Iterator[tuple[int, Point | Refusal, Row]]:
        """Yield line, point with its `device_id` (or why it is none), and the row as it was.

        For JSON the line is the place in the list, from 1. Raises UsageFailure.
        """
        try:
            for line, row in self._rows():
                if isinstance(row, Refusal):
                    yield line, row, {}
                else:
                    yield line, self._point(line, row), row
        except UnreadableFile as error:
            raise UsageFailure(f"{error.name} can't be read: {error.reason}") from error

    def kind(self) -> str:
        """Return json, jsonl or csv; by the name when the user didn't say, jsonl for stdin."""
        if self.format != "auto":
            return self.format
        if self.name.endswith((".json", ".json.gz")):
            return "json"
        return format_of(self.name) or "jsonl"

    def _rows(self) -> Iterator[tuple[int, Row | Refusal]]:
        if self.kind() == "json":
            yield from enumerate(_json_points(self.name), start=1)
            return
        with open_table(self.name, format=self.kind()) as table:
            if table.columns is None:
                yield from table.rows
                return
            columns = table.columns
            _check_columns(self.name, columns)
            for line, row in table.rows:
                yield line, _named(columns, row) if isinstance(row, list) else row

    def _point(self, line: int, row: Row) -> Point | Refusal:
        assert isinstance(row, dict)
        point: Point = dict(row)
        device_id = point.pop("device_id", None) or self.device_id
        if not isinstance(device_id, str):
            return Refusal(line, "bad_name", "there is no device_id; --device names one for all")
        if not is_finite(point):
            return Refusal(line, "not_finite", "a number is not finite")
        return {"device_id": device_id, **point}


def _check_columns(name: str, columns: Sequence[str]) -> None:
    missing = {"timestamp", "metric_name", "value"} - set(columns)
    if missing:
        raise UsageFailure(
            f"{name} has no column {', '.join(sorted(missing))}",
            hint="telemetryctl import --map reads other files",
        )


def _named(columns: Sequence[str], cells: Sequence[str]) -> Row:
    """Return the point of a CSV row: values typed as JSON, tags and metadata as JSON objects."""
    named = {column: cell for column, cell in zip(columns, cells, strict=True) if cell != ""}
    row: dict[str, Any] = dict(named)
    for column in ("value", "tags", "metadata"):
        if column in named:
            row[column] = _cell_value(named[column])
    return row


def _cell_value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _json_points(name: str) -> Iterator[Row | Refusal]:
    """Yield the points of a JSON list, of `{"data_points": []}`, or of `{device: []}` (a bulk)."""
    try:
        with _open_binary(name) as file:
            data = file.read(JSON_FILE_BYTES_MAX + 1)
        if len(data) > JSON_FILE_BYTES_MAX:
            raise UnreadableFile(name, "too large for one JSON document; use JSON Lines")
        document = json.loads(data)
    except OSError as error:
        raise UnreadableFile(name, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(name, f"not JSON ({error})") from error
    for number, point in enumerate(_points_in(document), start=1):
        is_point = isinstance(point, dict)
        yield point if is_point else Refusal(number, "bad_value", "not a JSON object")


def _open_binary(name: str) -> Any:
    import gzip

    if name == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return gzip.open(name, "rb") if name.endswith(".gz") else Path(name).open("rb")


def _points_in(document: Any) -> Iterator[Any]:
    if isinstance(document, list):
        yield from document
    elif isinstance(document, dict) and "metric_name" in document:
        yield document
    elif isinstance(document, dict) and isinstance(document.get("data_points"), list):
        yield from document["data_points"]
    elif isinstance(document, dict):
        for device_id, points in document.items():
            for point in points if isinstance(points, list) else [points]:
                is_point = isinstance(point, dict)
                yield {"device_id": device_id, **point} if is_point else point
    else:
        yield document


@dataclass(slots=True)
class Batch:
    """Points that go in one request, by device; `lines` and `rows` run beside them."""

    number: int
    points: dict[str, list[Point]] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    refused: list[tuple[Refusal, Row]] = field(default_factory=list)
    size: int = 0

    def add(self, line: int, point: Point, *, row: Row) -> None:
        """Put a point, which holds its `device_id`, at the end of its device's points."""
        device_id = point["device_id"]
        self.points.setdefault(device_id, []).append(
            {name: value for name, value in point.items() if name != "device_id"}
        )
        self.lines.setdefault(device_id, []).append(line)
        self.rows.setdefault(device_id, []).append(row)
        self.size += 1

    def refusals(self, answer: Mapping[str, Any]) -> Iterator[tuple[Refusal, Row]]:
        """Yield what was no point and what the server refused, with the rows they were."""
        yield from self.refused
        only = next(iter(self.points), "")
        results = answer.get("results") or {only: answer}
        for device_id, result in results.items():
            for error in result.get("errors") or ():
                yield self._refusal(device_id, error)

    def _refusal(self, device_id: str, error: Mapping[str, Any]) -> tuple[Refusal, Row]:
        index = error.get("index")
        lines, rows = self.lines.get(device_id, []), self.rows.get(device_id, [])
        is_known = isinstance(index, int) and 0 <= index < len(lines)
        line, row = (lines[index], rows[index]) if is_known and index is not None else (0, {})
        code, detail = str(error.get("code", "")), str(error.get("detail", ""))
        return Refusal(line, code, detail), row


def gather(lines: Lines, *, batch_points: int) -> Iterator[Batch]:
    """Yield the points of a file in batches, in the order of the file."""
    batch = Batch(number=0)
    for line, point, row in lines.read():
        if isinstance(point, Refusal):
            batch.refused.append((point, row))
        else:
            batch.add(line, point, row=row)
        if batch.size + len(batch.refused) >= batch_points:
            yield batch
            batch = Batch(number=batch.number + 1)
    if batch.size or batch.refused:
        yield batch
