"""Data as table, plain, json, jsonl or csv; drawing tables is left to output.table."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from telemetryctl.failures import UsageFailure
from telemetryctl.output.console import Console, printable
from telemetryctl.times import format_for_eyes

Row = Mapping[str, Any]
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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


@dataclass(frozen=True, slots=True)
class Renderer:
    """Writes rows in the format the user asked for; `format_name` None decides by the terminal."""

    console: Console
    format_name: str | None = None
    fields: tuple[str, ...] = ()
    has_headers: bool = True
    zone: tzinfo | None = None
    is_wide: bool = False
    record_end: str = "\n"
    is_excel_safe: bool = False

    @property
    def format(self) -> str:
        """The format in use: a table for eyes, tab-separated text for programs."""
        return self.format_name or ("table" if self.console.is_stdout_tty else "plain")

    def item(self, document: Row, *, columns: Sequence[Column]) -> None:
        """Write one thing: JSON as the API gave it, a list of fields on a table."""
        if self.format == "json":
            self._json(select(document, self.fields) if self.fields else document)
        elif self.format == "table":
            from telemetryctl.output import table

            table.print_item(self, document=document, columns=self._columns(columns))
        else:
            self.rows([document], columns=columns)

    def listing(self, document: Row, *, key: str, columns: Sequence[Column]) -> None:
        """Write the list that a document holds at `key`; JSON is the whole document."""
        if self.format == "json":
            if self.fields:
                rows = [select(row, self.fields) for row in document[key]]
                document = {**document, key: rows}
            self._json(document)
        else:
            self.rows(document[key], columns=columns)

    def rows(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        """Write rows as they come, except for a table and JSON, which need all of them."""
        columns = self._columns(columns)
        match self.format:
            case "json":
                self._json([select(r, self.fields) if self.fields else r for r in rows])
            case "jsonl":
                for row in rows:
                    line = select(row, self.fields) if self.fields else row
                    self.console.write(dump_json(line) + self.record_end)
            case "csv":
                self._csv(rows, columns=columns)
            case "plain":
                self._plain(rows, columns=columns)
            case "table":
                from telemetryctl.output import table

                table.print_rows(self, rows=rows, columns=columns)
            case other:
                raise UsageFailure(f'"{other}" is not an output format')

    def ids(self, rows: Iterable[Row], *, key: str) -> None:
        """Write ids only, one a line (or NUL-ended), for xargs."""
        for row in rows:
            self.console.write(cell_text(row.get(key)) + self.record_end)

    def _columns(self, columns: Sequence[Column]) -> Sequence[Column]:
        if not self.fields:
            return columns
        known = {column.key: column for column in columns}
        return [known.get(field) or Column(field) for field in self.fields]

    def _json(self, document: Any) -> None:
        indent = 2 if self.console.is_stdout_tty else None
        self.console.write(dump_json(document, indent=indent) + "\n")

    def _plain(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        if self.has_headers:
            self.console.write("\t".join(c.key for c in columns) + self.record_end)
        for row in rows:
            cells = (escape_plain(cell_text(lookup(row, c.key))) for c in columns)
            self.console.write("\t".join(cells) + self.record_end)

    def _csv(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        # A buffer of its own, since csv would write through the text layer row by row anyway.
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        for cells in self._csv_lines(rows, columns=columns):
            writer.writerow(cells)
            self.console.write(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()

    def _csv_lines(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> Iterator[list[str]]:
        if self.has_headers:
            yield [column.key for column in columns]
        for row in rows:
            values = [lookup(row, column.key) for column in columns]
            yield [self._csv_cell(value) for value in values]

    def _csv_cell(self, value: Any) -> str:
        text = cell_text(value)
        is_formula = self.is_excel_safe and isinstance(value, str)
        return f"'{text}" if is_formula and text.startswith(_FORMULA_STARTS) else text

    def cell_for_eyes(self, row: Row, column: Column) -> str:
        """Return a table's cell: times in the user's zone, nothing that steers the terminal."""
        text = cell_text(lookup(row, column.key))
        if column.is_time:
            text = format_for_eyes(text, zone=self.zone)
        return printable(text)


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
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=not is_utf8, indent=indent, separators=separators)


def escape_plain(text: str) -> str:
    """Return the text with backslash, tab, newline and other control characters written out."""
    if text.isprintable() and "\\" not in text:
        return text
    text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return printable(text.replace("\r", "\\r"))
