"""Figures as Prometheus writes them: read from a page of the daemon, and written for others."""

import re
from collections.abc import Iterable

_LINE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{([^}]*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = dict[str, str]


def read_figures(page: str) -> dict[str, list[tuple[Labels, float]]]:
    """Return each figure's values with their labels; lines that are none are left out."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for line in page.splitlines():
        match = _LINE.match(line)
        if match:
            labels = dict(_LABEL.findall(match[2] or ""))
            found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


def write_figures(
    name: str, help_text: str, values: Iterable[tuple[Labels, float]]
) -> Iterable[str]:
    """Yield the lines of one gauge, for node_exporter's folder of text files."""
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} gauge"
    for labels, value in values:
        inner = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        yield f"{name}{{{inner}}} {value:g}" if inner else f"{name} {value:g}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
