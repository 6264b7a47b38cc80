"""Cells: which value of a row a column shows, and as what text."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telemetryctl.output.console import printable

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the dotted path of its value in a row, and how tables show it.

    `is_fixed` columns (ids, times) are never cut. `is_time` is shown in the user's zone.
    """

    key: str
    title: str = ""
    is_fixed: bool = False
    is_right: bool = False
    is_time: bool = False

    @property
    def heading(self) -> str:
        """The table's title of the column."""
        return self.title or self.key.rpartition(".")[2].upper().replace("_", " ")


def lookup(row: Row, path: str) -> Any:
    """Return the value at a dotted path; a key that has dots itself wins. None when absent."""
    if path in row:
        return row[path]
    head, dot, rest = path.partition(".")
    while dot:
        if isinstance(inner := row.get(head), Mapping):
            return lookup(inner, rest)
        part, dot, rest = rest.partition(".")
        head = f"{head}.{part}"
    return None


def select(row: Row, fields: Sequence[str]) -> dict[str, Any]:
    """Return only the fields, in their order."""
    return {field: lookup(row, field) for field in fields}


def cell_text(value: Any) -> str:
    """Return the text of a value: JSON for lists and objects, nothing for null."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() if value and all(isinstance(item, str) and "," not in item for item in value):
            return ",".join(value)
    return "" if value in ([], {}) else dump_json(value)


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON text; plain ASCII when stdout can't carry more, so that nothing becomes `?`."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=not is_utf8(), indent=indent, separators=separators)


def is_utf8() -> bool:
    """Whether stdout carries every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def escape_plain(text: str) -> str:
    """Return the text with backslash, tab, newline and other control characters written out."""
    if text.isprintable() and "\\" not in text:
        return text
    text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return printable(text.replace("\r", "\\r"))
