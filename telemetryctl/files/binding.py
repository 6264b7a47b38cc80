"""A mapping bound to the columns of one file: rows to points. The syntax is mapping's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from operator import itemgetter

from telemetryctl.files.cells import READERS, BadCell, geo_value
from telemetryctl.files.mapping import USUAL_NAMES, BadMapping, Constants, Mapping, Source
from telemetryctl.files.points import Json, Point, Refusal, Row, Tags, Value
from telemetryctl.files.stamps import BadStamp, parse_stamp_us

Cell = Callable[[Row], Json]
Reader = Callable[[Row], Value | None]


@dataclass(frozen=True, slots=True)
class _Series:
    """What one row gives one point of: the metric's name (None: the row says), value and unit."""

    metric_name: str | None
    read: Reader
    unit: str | None


@dataclass(frozen=True, slots=True)
class Binding:
    """Turns rows of one file into points. Made by `bind`."""

    timestamp: Cell
    device: Cell
    metric: Cell
    unit: Cell | None
    metadata: Cell | None
    tags: Callable[[Row], Tags]
    series: tuple[_Series, ...]
    zone: tzinfo | None

    def time_us(self, row: Row) -> int | None:
        """Only the time of the row, or None; for the pass that looks for the newest."""
        try:
            return parse_stamp_us(self.timestamp(row), zone=self.zone)
        except BadStamp:
            return None

    def points(self, line: int, row: Row) -> tuple[list[Point], list[Refusal]]:
        """The points of a row, in the order of the mapping, and what could not become one.

        Both are empty for a row whose mapped cells are all empty.
        """
        try:
            time_us = parse_stamp_us(self.timestamp(row), zone=self.zone)
            device_id = self._name(self.device(row), "device")
            tags = self.tags(row)
            extra = _object(self.metadata(row), "metadata") or None if self.metadata else None
        except BadStamp as error:
            return [], [Refusal(line, "bad_timestamp", str(error))]
        except BadCell as error:
            return [], [Refusal(line, error.code, str(error))]
        points: list[Point] = []
        refused: list[Refusal] = []
        for series in self.series:
            try:
                value = series.read(row)
                if value is not None:
                    metric_name = series.metric_name or self._name(self.metric(row), "metric")
                    unit = series.unit or self._unit(row)
                    known = (device_id, metric_name, time_us, value, unit, tags, line, extra)
                    points.append(Point(*known))
            except BadCell as error:
                refused.append(Refusal(line, error.code, str(error), series.metric_name))
        return points, refused

    def _unit(self, row: Row) -> str | None:
        unit = self.unit(row) if self.unit is not None else None
        return str(unit) if unit not in (None, "") else None

    @staticmethod
    def _name(cell: Json, role: str) -> str:
        if cell is None or cell == "" or isinstance(cell, (bool, list, dict)):
            raise BadCell("bad_name", f"the {role}'s name is empty")
        return str(cell)


def bind(mapping: Mapping, columns: tuple[str, ...] | None, constants: Constants) -> Binding:
    """Find the mapped columns; None stands for JSON Lines, where a missing key is an empty cell.

    Columns with usual names (`timestamp`, `device_id`, `metric_name`, `value`, `unit`, `tags`)
    need no mapping. Raises BadMapping for a column that the file lacks, and when nothing holds the
    time, the device or a value.
    """
    finder = _Finder(columns)
    roles = {role: finder.role(mapping, role) for role in USUAL_NAMES}
    timestamp = roles["timestamp"]
    if timestamp is None:
        raise BadMapping(f"no column holds the time: --map timestamp=COLUMN{finder.hint()}")
    device = _constant(constants.device) or roles["device"]
    if device is None:
        raise BadMapping(f"nothing names the device: --device, --map device=COLUMN{finder.hint()}")
    series, metric = _series(mapping, finder, constants)
    return Binding(
        timestamp=timestamp,
        device=device,
        metric=metric,
        unit=_constant(constants.unit) or roles["unit"],
        metadata=roles["metadata"],
        tags=_tags(mapping, finder, roles["tags"], constants=constants.tags),
        series=series,
        zone=constants.zone,
    )


class _Finder:
    """Getters of cells by the column's name."""

    def __init__(self, columns: tuple[str, ...] | None) -> None:
        self.columns = columns

    def role(self, mapping: Mapping, role: str) -> Cell | None:
        """The mapped column of a role, else the one with a usual name, else None."""
        source = mapping.roles.get(role)
        if source is not None:
            return self.cell(source.columns[0])
        if self.columns is None:
            first, *others = USUAL_NAMES[role]
            return lambda row: next((row[n] for n in (first, *others) if n in row), None)  # type: ignore[call-overload]
        usual = next((name for name in USUAL_NAMES[role] if name in self.columns), None)
        return self.cell(usual) if usual is not None else None

    def cell(self, name: str) -> Cell:
        if self.columns is None:
            return lambda row: row.get(name)  # type: ignore[union-attr]
        if name not in self.columns:
            raise BadMapping(f"there is no column {name!r}{self.hint()}")
        return itemgetter(self.columns.index(name))

    def kind(self, source: Source) -> str:
        return "typed" if source.kind == "auto" and self.columns is None else source.kind

    def hint(self) -> str:
        return f" (columns: {', '.join(self.columns)})" if self.columns else ""


def _constant(value: str | None) -> Cell | None:
    return None if value is None else lambda row: value


def _series(
    mapping: Mapping, finder: _Finder, constants: Constants
) -> tuple[tuple[_Series, ...], Cell]:
    """What each row holds, and where its metric's name is when the row says it."""
    if mapping.metrics:
        named = mapping.metrics.items()
        return tuple(_Series(name, _reader(finder, s), s.unit) for name, s in named), _nowhere
    source = mapping.roles.get("value", Source(("value",)))
    value = finder.role(mapping, "value")
    if value is None:
        raise BadMapping(f"no column holds a value: --map METRIC=COLUMN{finder.hint()}")
    metric = _constant(constants.metric) or finder.role(mapping, "metric")
    if metric is None:
        raise BadMapping(f"nothing names the metric: --metric, --map METRIC=COLUMN{finder.hint()}")
    read = (
        _reader(finder, source) if "value" in mapping.roles else _plain(value, finder.kind(source))
    )
    return (_Series(None, read, source.unit),), metric


def _nowhere(row: Row) -> Json:
    return None


def _reader(finder: _Finder, source: Source) -> Reader:
    cells = [finder.cell(column) for column in source.columns]
    if source.kind == "geo":
        return lambda row: geo_value([cell(row) for cell in cells])
    return _plain(cells[0], finder.kind(source))


def _plain(cell: Cell, kind: str) -> Reader:
    read = READERS[kind]
    return lambda row: read(cell(row))


def _tags(
    mapping: Mapping, finder: _Finder, column: Cell | None, *, constants: Tags
) -> Callable[[Row], Tags]:
    """Tags of a row: the flags', the `tags` object, then the mapped columns; later ones win."""
    cells = [(key, finder.cell(name)) for key, name in mapping.tags.items()]
    if column is None and not cells:
        return lambda row: constants

    def tags_of(row: Row) -> Tags:
        found = dict(constants)
        if column is not None:
            tags = _object(column(row), "tags")
            found.update((k, t if isinstance(t, str) else json.dumps(t)) for k, t in tags.items())
        found.update((key, str(cell(row))) for key, cell in cells if cell(row) not in (None, ""))
        return tuple(sorted(found.items()))

    return tags_of


def _object(cell: Json, role: str) -> dict[str, Json]:
    if cell is None or cell == "":
        return {}
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadCell("bad_value", f"the {role} cell is not a JSON object")
    return found
