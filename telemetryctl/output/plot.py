"""A line chart of one series in characters, with a scale of values and of time. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor, isfinite, log10

WIDTH_MIN, HEIGHT_MIN = 20, 3
# Unicode 16.0 chapter 21.1: dots 1-8 of a braille cell, here by (row from the top, column).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_STEPS = (1, 2, 2.5, 5, 10)

Samples = Sequence[tuple[datetime, float | None]]


@dataclass(frozen=True, slots=True)
class Size:
    """How many characters a chart may take, scales included."""

    width: int = 80
    height: int = 12
    is_ascii: bool = False


def plot(samples: Samples, *, start: datetime, end: datetime, size: Size) -> list[str]:
    """The lines of the chart. Neighbours are joined; a missing sample (None) breaks the line.

    Empty when there is no number to draw.
    """
    known = [value for _, value in samples if value is not None and isfinite(value)]
    if not known:
        return []
    low, high, step = scale(min(known), max(known), ticks_max=max(size.height // 3, 2))
    labels = _labels(low, high, step)
    margin = max(map(len, labels.values()))
    columns = max(size.width - margin - 2, WIDTH_MIN)
    rows = max(size.height - 2, HEIGHT_MIN)
    canvas = _Canvas(columns, rows, is_ascii=size.is_ascii)
    _draw(canvas, samples, (start, end), (low, high))
    lines = canvas.lines()
    at_row = {round((high - value) / (high - low) * (rows - 1)): t for value, t in labels.items()}
    wall, tick = ("|", "+") if size.is_ascii else ("│", "┤")
    chart = [
        f"{at_row.get(i, ''):>{margin}} {tick if i in at_row else wall}{line.rstrip()}"
        for i, line in enumerate(lines)
    ]
    return [*chart, *_time_axis(start, end, margin=margin, columns=columns)]


def scale(low: float, high: float, *, ticks_max: int) -> tuple[float, float, float]:
    """Round bounds around both values and the step between labels."""
    if low == high:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    rough = (high / 2 - low / 2) / ticks_max * 2
    power = 10.0 ** floor(log10(rough)) if rough > 0 else 1.0
    step = next(s * power for s in _STEPS if s * power >= rough * 0.999)
    return floor(low / step) * step, -floor(-high / step) * step, step


def _labels(low: float, high: float, step: float) -> dict[float, str]:
    count = round((high - low) / step)
    values = [low + i * step for i in range(count + 1)]
    decimals = max(0, -floor(log10(step))) if step < 1 else (1 if step % 1 else 0)
    if max(abs(low), abs(high)) >= 1e7 or decimals > 6:
        return {value: f"{value:.3g}" for value in values}
    return {value: f"{value:,.{decimals}f}" for value in values}


def _draw(
    canvas: _Canvas,
    samples: Samples,
    window: tuple[datetime, datetime],
    bounds: tuple[float, float],
) -> None:
    (start, end), (low, high) = window, bounds
    span_s = max((end - start).total_seconds(), 1e-6)
    previous: tuple[int, int] | None = None
    for instant, value in samples:
        if value is None or not isfinite(value):
            previous = None
            continue
        x = (instant - start).total_seconds() / span_s * (canvas.dots_x - 1)
        y = (high / 2 - value / 2) / (high / 2 - low / 2) * (canvas.dots_y - 1)
        dot = (round(min(max(x, 0), canvas.dots_x - 1)), round(y))
        canvas.line(previous or dot, dot)
        previous = dot


class _Canvas:
    """Dots, two by four in a character, or one in ASCII."""

    def __init__(self, columns: int, rows: int, *, is_ascii: bool) -> None:
        self._per_x, self._per_y = (1, 1) if is_ascii else (2, 4)
        self._is_ascii = is_ascii
        self._cells = [[0] * columns for _ in range(rows)]
        self.dots_x, self.dots_y = columns * self._per_x, rows * self._per_y

    def line(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        steps = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]), 1)
        for i in range(steps + 1):
            x = round(begin[0] + (end[0] - begin[0]) * i / steps)
            y = round(begin[1] + (end[1] - begin[1]) * i / steps)
            row, column = y // self._per_y, x // self._per_x
            self._cells[row][column] |= _DOTS[y % self._per_y][x % self._per_x]

    def lines(self) -> list[str]:
        if self._is_ascii:
            return ["".join("*" if cell else " " for cell in row) for row in self._cells]
        return ["".join(chr(_BRAILLE + c) if c else " " for c in row) for row in self._cells]


def _time_axis(start: datetime, end: datetime, *, margin: int, columns: int) -> list[str]:
    """The line of times below: begin, middle, end, with the date where it matters."""
    middle = start + (end - start) / 2
    form = "%H:%M:%S" if end - start < timedelta(minutes=10) else "%H:%M"
    if start.date() != (end - timedelta(microseconds=1)).date():
        form = "%m-%d %H:%M" if end - start < timedelta(days=60) else "%Y-%m-%d"
    left, centre, right = (instant.strftime(form) for instant in (start, middle, end))
    inner = columns - len(left) - len(right)
    return [" " * (margin + 2) + left + centre.center(max(inner, len(centre) + 2)) + right]
