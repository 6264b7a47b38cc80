"""telemetry.toml(5): the settings of telemetryd, from the example that documents each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from man import roff
from man.command_tree import Option


def page(example: Path) -> str:
    """The page; a setting is a line `key = default  # meaning`, also where it is commented out."""
    opening, *rest = example.read_text().split("\n\n")
    lines = [
        *roff.header("telemetry.toml", 5, "settings of telemetryd"),
        ".SH DESCRIPTION",
        *roff.verbatim("\n".join(line.removeprefix("#").strip() for line in opening.splitlines())),
    ]
    for section in rest:
        title, *settings = section.strip().splitlines()
        if not title.startswith("["):
            raise ValueError(f"{example.name}: a blank line that is not before a section: {title}")
        lines += [f".SH {roff.escaped(title)}", *roff.listed(_settings(settings))]
    lines += [".SH SEE ALSO", roff.escaped("telemetryd(8)")]
    return roff.page(lines)


def _settings(lines: list[str]) -> Iterator[Option]:
    for line in lines:
        setting, _, meaning = line.removeprefix("# ").partition("  #")
        setting, _, near = setting.partition(" # ") if not meaning else (setting, "", "")
        yield Option(setting.strip(), (meaning or near).strip() or "See the setting before.")
