"""One line of the table: what was measured, the limit beside it, whether the target is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

HEAD = ("figure", "measured", "limit in the same run", "ratio", "target", "reached")


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` is measured over limit; `is_reached` is None for a figure without a target."""

    name: str
    measured: str
    limit: str
    ratio: str
    target: str
    is_reached: bool | None

    def cells(self) -> tuple[str, ...]:
        reached = {True: "yes", False: "NO", None: "-"}[self.is_reached]
        return (self.name, self.measured, self.limit, self.ratio, self.target, reached)


def at_least(
    name: str, measured: float, limit: float, *, least: float, show: Callable[[float], str], of: str
) -> Figure:
    """A figure that should be at least `least` times its limit; `of` names the limit."""
    ratio = measured / limit
    return Figure(
        name, show(measured), f"{of}: {show(limit)}", f"{ratio:.2f}", f"≥ {least:g}", ratio >= least
    )


def at_most(
    name: str, measured: float, limit: float, *, most: float, show: Callable[[float], str], of: str
) -> Figure:
    """A figure that should be at most `most` times its limit; `of` names the limit."""
    ratio = measured / limit
    reached = ratio <= most
    return Figure(
        name, show(measured), f"{of}: {show(limit)}", f"{ratio:.3g}", f"≤ {most:.3g}", reached
    )


def bounded(name: str, measured: float, *, most: float, show: Callable[[float], str]) -> Figure:
    """A figure with an absolute bound."""
    return Figure(name, show(measured), "-", "-", f"≤ {show(most)}", measured <= most)


def rate(per_s: float) -> str:
    """1234567 as `1.23 M/s`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if per_s >= size:
            return f"{per_s / size:.3g} {letter}/s"
    return f"{per_s:.3g} /s"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def table(rows: Sequence[Figure]) -> str:
    """The rows as a Markdown table with aligned columns."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def missed(rows: Sequence[Figure]) -> list[str]:
    """A line for each figure that does not reach its target."""
    return [
        f"missed: {one.name}: {one.measured}, wanted {one.target}"
        for one in rows
        if one.is_reached is False
    ]
