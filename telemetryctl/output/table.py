"""Tables for eyes; rich is imported here, and only when stdout is a terminal."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from telemetryctl.output.render import Column, Renderer, Row

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_GAP = "  "
_CUT_WIDTH_MIN = 8


def print_rows(renderer: Renderer, *, rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Print a table that fits the terminal; a pipe gets every character, in aligned columns."""
    cells = [[renderer.cell_for_eyes(row, column) for column in columns] for row in rows]
    if renderer.console.is_stdout_tty:
        _print_with_rich(renderer, cells=cells, columns=columns)
    else:
        _print_aligned(renderer, cells=cells, columns=columns)


def print_item(renderer: Renderer, *, document: Row, columns: Sequence[Column]) -> None:
    """Print one thing as a list of names and values; nothing is cut."""
    width = max((len(column.heading) for column in columns), default=0)
    for column in columns:
        value = renderer.cell_for_eyes(document, column)
        line = f"{column.heading.lower():<{width}}{_GAP}{value}".rstrip()
        renderer.console.write(line + "\n")


def _print_aligned(
    renderer: Renderer, *, cells: list[list[str]], columns: Sequence[Column]
) -> None:
    lines = [[c.heading for c in columns], *cells] if renderer.has_headers else cells
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if column.is_right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        renderer.console.write(_GAP.join(padded).rstrip() + "\n")


def _print_with_rich(
    renderer: Renderer, *, cells: list[list[str]], columns: Sequence[Column]
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=renderer.has_headers, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        widest = max([len(column.heading), *(len(line[index]) for line in cells)])
        is_fixed = column.is_fixed or column.is_time or renderer.is_wide
        table.add_column(
            Text(column.heading, style="bold"),
            justify="right" if column.is_right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=widest if is_fixed else min(widest, _CUT_WIDTH_MIN),
        )
    for line in cells:
        # Text, not str: rich reads [brackets] in a str as markup and drops them.
        table.add_row(*(Text(cell) for cell in line))
    floor = sum((c.min_width or 0) + len(_GAP) for c in table.columns)
    console = _rich_console(renderer, width_min=floor)
    console.print(table, soft_wrap=False, crop=False)


def _rich_console(renderer: Renderer, *, width_min: int) -> "RichConsole":
    """Return a console at least `width_min` wide: ids run over the edge rather than being cut."""
    from rich.console import Console as RichConsole

    columns = shutil.get_terminal_size().columns
    return RichConsole(
        file=sys.stdout,
        width=max(columns, width_min),
        no_color=not renderer.console.may_color(sys.stdout),
        color_system="auto" if renderer.console.may_color(sys.stdout) else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
