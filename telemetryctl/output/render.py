"""Data as table, plain, json, jsonl, csv or yaml; drawing tables is left to output.table."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

from telemetryctl.failures import UsageFailure
from telemetryctl.output.cells import (
    Column,
    Row,
    cell_text,
    dump_json,
    escape_plain,
    is_utf8,
    lookup,
    select,
)
from telemetryctl.output.console import Console, printable
from telemetryctl.times import format_for_eyes

__all__ = ["Column", "Renderer", "Row"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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

    @property
    def is_document(self) -> bool:
        """Whether all of it is one document, in the shape of the API."""
        return self.format in ("json", "yaml")

    def item(self, document: Row, *, columns: Sequence[Column]) -> None:
        """Write one thing: a document as the API gave it, a list of fields on a table."""
        if self.is_document:
            self._document(select(document, self.fields) if self.fields else document)
        elif self.format == "table":
            self._list_fields(document, columns=self._columns(columns))
        else:
            self.rows([document], columns=columns)

    def listing(self, document: Row, *, key: str, columns: Sequence[Column]) -> None:
        """Write the list that a document holds at `key`, or the whole document."""
        if self.is_document:
            if self.fields:
                rows = [select(row, self.fields) for row in document[key]]
                document = {**document, key: rows}
            self._document(document)
        else:
            self.rows(document[key], columns=columns)

    def rows(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        """Write rows as they come, except for a table and a document, which need all of them."""
        columns = self._columns(columns)
        match self.format:
            case "json" | "yaml":
                self._document([select(r, self.fields) if self.fields else r for r in rows])
            case "jsonl":
                for row in rows:
                    line = select(row, self.fields) if self.fields else row
                    self.console.write(dump_json(line) + self.record_end)
            case "csv":
                self._csv(rows, columns=columns)
            case "plain":
                self._plain(rows, columns=columns)
            case "table":
                self._table(rows, columns=columns)
            case other:
                raise UsageFailure(f'"{other}" is not an output format')

    def without_headers(self) -> "Renderer":
        """The same, for rows that continue others."""
        return replace(self, has_headers=False)

    def line(self, row: Row, *, columns: Sequence[Column]) -> None:
        """Write one row for eyes, without waiting for those that a table would align it with."""
        cells = [self._cell_for_eyes(row, column) for column in self._columns(columns)]
        self.console.write("  ".join(cells).rstrip() + "\n")

    def ids(self, rows: Iterable[Row], *, key: str) -> None:
        """Write ids only, one a line (or NUL-ended), for xargs."""
        for row in rows:
            self.console.write(cell_text(row.get(key)) + self.record_end)

    def _columns(self, columns: Sequence[Column]) -> Sequence[Column]:
        if not self.fields:
            return columns
        known = {column.key: column for column in columns}
        return [known.get(field) or Column(field) for field in self.fields]

    def _document(self, document: Any) -> None:
        if self.format == "yaml":
            from telemetryctl.yaml_text import dump_all

            self.console.write(dump_all([document], is_ascii=not is_utf8()))
            return
        indent = 2 if self.console.is_stdout_tty else None
        self.console.write(dump_json(document, indent=indent) + "\n")

    def _table(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        """Write a table that fits the terminal; a pipe gets every character, aligned."""
        cells = [[self._cell_for_eyes(row, column) for column in columns] for row in rows]
        if not self.console.is_stdout_tty:
            self._aligned(cells, columns=columns)
            return
        from telemetryctl.output.table import print_table

        print_table(
            cells,
            columns=columns,
            has_headers=self.has_headers,
            is_wide=self.is_wide,
            has_color=self.console.may_color(sys.stdout),
        )

    def _aligned(self, cells: list[list[str]], *, columns: Sequence[Column]) -> None:
        lines = [[c.heading for c in columns], *cells] if self.has_headers else cells
        widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(columns))]
        for line in lines:
            padded = (
                cell.rjust(width) if column.is_right else cell.ljust(width)
                for cell, width, column in zip(line, widths, columns, strict=True)
            )
            self.console.write("  ".join(padded).rstrip() + "\n")

    def _list_fields(self, document: Row, *, columns: Sequence[Column]) -> None:
        """Write one thing as names and values; nothing is cut."""
        width = max((len(column.heading) for column in columns), default=0)
        for column in columns:
            value = self._cell_for_eyes(document, column)
            line = f"{column.heading.lower():<{width}}  {value}".rstrip()
            self.console.write(line + "\n")

    def _plain(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        if self.has_headers:
            self.console.write("\t".join(c.key for c in columns) + self.record_end)
        for row in rows:
            cells = (escape_plain(cell_text(lookup(row, c.key))) for c in columns)
            self.console.write("\t".join(cells) + self.record_end)

    def _csv(self, rows: Iterable[Row], *, columns: Sequence[Column]) -> None:
        # Lines end in LF, but csv quotes a CR only if it is part of its own line end.
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\r\n")
        for cells in self._csv_lines(rows, columns=columns):
            writer.writerow(cells)
            self.console.write(buffer.getvalue().removesuffix("\r\n") + "\n")
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

    def _cell_for_eyes(self, row: Row, column: Column) -> str:
        """Return a table's cell: times in the user's zone, nothing that steers the terminal."""
        text = cell_text(lookup(row, column.key))
        if column.is_time:
            text = format_for_eyes(text, zone=self.zone)
        return printable(text)
