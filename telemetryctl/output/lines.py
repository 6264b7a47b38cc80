"""Points as lines, each written when it comes: for eyes in colour, or in one of the formats."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any

from telemetryctl.output.cells import Column, cell_text, dump_json, lookup, select
from telemetryctl.output.console import Console, printable
from telemetryctl.output.render import Renderer
from telemetryctl.times import format_for_eyes

Point = Mapping[str, Any]
COLUMNS = (
    Column("timestamp", title="TIME", is_fixed=True, is_time=True),
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("metric_name", title="METRIC", is_fixed=True),
    Column("value", is_right=True),
    Column("unit"),
    Column("tags"),
)
# Six that are readable on black and on white; bold makes twelve of them (ECMA-48, SGR).
_COLORS = [f"{weight}{code}" for weight in ("", "1;") for code in (36, 32, 33, 35, 34, 31)]
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_WIDTH_MAX = 40
"""A column never grows beyond this for the sake of one long name."""


class Lines:
    """Writes points one by one. `finish` writes what a format needs at its end."""

    def __init__(self, write: Callable[[Point], None], finish: Callable[[str], None]) -> None:
        self.point = write
        self.finish = finish


def lines_of(renderer: Renderer, *, template: Callable[[Point], str] | None = None) -> Lines:
    """The writer for the format of the renderer, or for a template. Raises UsageFailure."""
    console, end = renderer.console, renderer.record_end
    if template is not None:
        shown = printable if console.is_stdout_tty else str
        return Lines(lambda point: console.write(shown(template(point)) + end), _nothing)
    match renderer.format:
        case "json":
            document = _Document(renderer)
            return Lines(document.point, document.finish)
        case "table" if renderer.fields:
            return Lines(_Chosen(renderer).point, _nothing)
        case "table":
            pretty = Pretty(console, renderer.zone, has_color=console.may_color(sys.stdout))
            return Lines(pretty.point, _nothing)
        case "yaml":
            return Lines(lambda point: renderer.item(point, columns=COLUMNS), _nothing)
    rows = _Rows(renderer)
    return Lines(rows.point, _nothing)


def _nothing(_cursor: str) -> None:
    """Most formats end when they end."""


@dataclass(slots=True)
class _Rows:
    """Rows of the renderer, with the header above the first one only."""

    renderer: Renderer

    def point(self, point: Point) -> None:
        self.renderer.rows([point], columns=COLUMNS)
        if self.renderer.has_headers:
            self.renderer = self.renderer.without_headers()


@dataclass(slots=True)
class _Chosen:
    """Chosen fields for eyes, columns growing as needed."""

    renderer: Renderer
    _widths: dict[str, int] = field(default_factory=dict)

    def point(self, point: Point) -> None:
        cells = []
        for name in self.renderer.fields:
            text = cell_text(lookup(point, name))
            if name == "timestamp":
                text = format_for_eyes(text, zone=self.renderer.zone)
            text = printable(text)
            self._widths[name] = _grown(self._widths.get(name, 0), text)
            cells.append(text.ljust(self._widths[name]))
        self.renderer.console.write("  ".join(cells).rstrip() + "\n")


@dataclass(slots=True)
class _Document:
    """One JSON document in the shape of `/changes`, written piece by piece."""

    renderer: Renderer
    _is_empty: bool = True

    def point(self, point: Point) -> None:
        fields = self.renderer.fields
        text = dump_json(select(point, fields) if fields else point)
        self.renderer.console.write(('{"data_points":[\n' if self._is_empty else ",\n") + text)
        self._is_empty = False

    def finish(self, cursor: str) -> None:
        start = '{"data_points":[' if self._is_empty else "\n"
        self.renderer.console.write(f'{start}],"cursor":{dump_json(cursor)}}}\n')


@dataclass(slots=True)
class Pretty:
    """`10:14:02.113  device_001  temperature   25.5 celsius  room=lab`, columns growing as needed.

    A device keeps its colour. A line with the date stands before the first point of another day.
    """

    console: Console
    zone: tzinfo | None
    has_color: bool
    _device_width: int = 0
    _metric_width: int = 0
    _value_width: int = 6
    _day: date | None = None
    _colors: dict[str, str] = field(default_factory=dict)

    def point(self, point: Point) -> None:
        device = printable(cell_text(point.get("device_id")))
        metric = printable(cell_text(point.get("metric_name")))
        value = printable(_value_text(point.get("value")))
        self._device_width = _grown(self._device_width, device)
        self._metric_width = _grown(self._metric_width, metric)
        self._value_width = _grown(self._value_width, value)
        unit = printable(cell_text(point.get("unit")))
        tags = printable(_tags_text(point.get("tags")))
        pieces = (
            self._time(cell_text(point.get("timestamp"))),
            self._colored(device.ljust(self._device_width), device),
            metric.ljust(self._metric_width),
            " ".join(filter(None, (value.rjust(self._value_width), unit))),
            self._dim(tags),
        )
        self.console.write("  ".join(piece for piece in pieces if piece).rstrip() + "\n")

    def _time(self, stamp: str) -> str:
        try:
            local = datetime.fromisoformat(stamp).astimezone(self.zone)
        except (ValueError, OverflowError):
            return printable(stamp)
        if local.date() != self._day:
            self._day = local.date()
            self.console.write(self._dim(f"-- {self._day.isoformat()} --") + "\n")
        return self._dim(local.replace(tzinfo=None).time().isoformat("milliseconds"))

    def _colored(self, text: str, device: str) -> str:
        if not self.has_color:
            return text
        color = self._colors.get(device)
        if color is None:
            color = _COLORS[zlib.crc32(device.encode()) % len(_COLORS)]
            self._colors[device] = color
        return f"\x1b[{color}m{text}{_RESET}"

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self.has_color and text else text


def _value_text(value: Any) -> str:
    """A position as `lat,lon`, about a metre sharp; everything else as it is."""
    match value:
        case {"lat": int() | float() as lat, "lon": int() | float() as lon}:
            return f"{lat:.5f},{lon:.5f}"
    return cell_text(value)


def _grown(width: int, text: str) -> int:
    return max(width, len(text)) if len(text) <= _WIDTH_MAX else width


def _tags_text(tags: Any) -> str:
    if not isinstance(tags, Mapping):
        return ""
    return " ".join(f"{key}={value}" for key, value in tags.items())
