"""Tables on a terminal; rich is imported here, and nowhere else."""

import shutil
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from telemetryctl.output.cells import Column

_GAP = "  "
_CUT_WIDTH_MIN = 8


def print_table(
    cells: list[list[str]],
    *,
    columns: Sequence[Column],
    has_headers: bool,
    is_wide: bool,
    has_color: bool,
) -> None:
    """Print rows of cells that fit the terminal; ids and times are never cut."""
    table = Table(box=None, show_header=has_headers, pad_edge=False, padding=(0, 2, 0, 0))
    widest = [
        max([len(column.heading), *(len(line[index]) for line in cells)])
        for index, column in enumerate(columns)
    ]
    is_whole = [column.is_fixed or column.is_time or is_wide for column in columns]
    room = shutil.get_terminal_size().columns - len(_GAP) * (len(columns) - 1)
    widths = fit(widest, is_whole=is_whole, room=room)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            Text(column.heading, style="bold"),
            justify="right" if column.is_right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for line in cells:
        # Text, not str: rich reads [brackets] in a str as markup and drops them.
        table.add_row(*(Text(cell) for cell in line))
    console = _console(width_min=sum(widths) + len(_GAP) * len(columns), has_color=has_color)
    console.print(table, soft_wrap=False, crop=False)


def fit(widest: Sequence[int], *, is_whole: Sequence[bool], room: int) -> list[int]:
    """Return the widths of columns: whole ones as they are; of the others the widest are cut first,
    to no less than _CUT_WIDTH_MIN.

    rich takes the same from each, until short ones are gone.
    """
    widths = list(widest)
    cuttable = [i for i, whole in enumerate(is_whole) if not whole and widths[i] > _CUT_WIDTH_MIN]
    excess = sum(widths) - room
    while excess > 0 and cuttable:
        longest = max(widths[i] for i in cuttable)
        level = max([_CUT_WIDTH_MIN, *(widths[i] for i in cuttable if widths[i] < longest)])
        tied = [i for i in cuttable if widths[i] == longest]
        if longest == level:
            break
        each = min(longest - level, -(-excess // len(tied)))
        for i in tied:
            widths[i] -= each
        excess = sum(widths) - room
    return widths


def _console(*, width_min: int, has_color: bool) -> Console:
    """Return a console at least `width_min` wide: ids run over the edge rather than being cut."""
    return Console(
        file=sys.stdout,
        width=max(shutil.get_terminal_size().columns, width_min),
        no_color=not has_color,
        color_system="auto" if has_color else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
