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
    for index, column in enumerate(columns):
        widest = max([len(column.heading), *(len(line[index]) for line in cells)])
        is_whole = column.is_fixed or column.is_time or is_wide
        table.add_column(
            Text(column.heading, style="bold"),
            justify="right" if column.is_right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=widest if is_whole else min(widest, _CUT_WIDTH_MIN),
        )
    for line in cells:
        # Text, not str: rich reads [brackets] in a str as markup and drops them.
        table.add_row(*(Text(cell) for cell in line))
    floor = sum((c.min_width or 0) + len(_GAP) for c in table.columns)
    console = _console(width_min=floor, has_color=has_color)
    console.print(table, soft_wrap=False, crop=False)


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
