"""Rows of CSV and JSON Lines files, one at a time. What a column means is decided in mapping."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from telemetryctl.files.points import Refusal, Row, UnreadableFile

FORMATS = ("csv", "jsonl")
GZIP_MAGIC = b"\x1f\x8b"
# A value may have 64 KiB (contract section 1); a cell quotes and escapes it, so four times that.
CELL_CHARS_MAX = 256 * 1024
# A request takes 4 MiB, so a row beyond this could never be sent.
LINE_CHARS_MAX = 1024 * 1024
csv.field_size_limit(CELL_CHARS_MAX)


@dataclass(slots=True)
class Table:
    """An open file: its columns in order (None for JSON Lines, where each row names its own).

    `rows` yields `(line, row)` or `(line, Refusal)` for a line that is no row; never the header.
    `read_bytes()` of `size_bytes` (0 when unknown) are read, for progress; packed ones count.
    Raises UnreadableFile from the iterator when the file ends in the middle.
    """

    name: str
    columns: tuple[str, ...] | None
    rows: Iterator[tuple[int, Row | Refusal]]
    read_bytes: Callable[[], int] = int
    size_bytes: int = 0


def format_of(name: str) -> str | None:
    """`csv` or `jsonl` by the name (`.gz` aside); None when the name doesn't say."""
    stem = name[:-3] if name.endswith(".gz") else name
    suffix = Path(stem).suffix.lower()
    return {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(suffix)


@contextmanager
def open_table(
    name: str, *, format: str | None = None, delimiter: str | None = None
) -> Iterator[Table]:
    """Open a file (`-` is standard input) as a table; gzip is recognised by its first bytes.

    Raises UnreadableFile for a missing file, an unknown format and a CSV file without a header.
    """
    kind = format or format_of(name) or ("csv" if name != "-" else "jsonl")
    separator = delimiter or ("\t" if ".tsv" in Path(name).suffixes else ",")
    try:
        with ExitStack() as stack:
            raw = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            text = _text_of(raw)
            is_csv = kind == "csv"
            table = _csv_table(name, text, separator) if is_csv else _jsonl_table(name, text)
            if raw is not sys.stdin.buffer:
                table.size_bytes = Path(name).stat().st_size
                table.read_bytes = raw.tell
            yield table
    except OSError as error:
        raise UnreadableFile(name, error.strerror or str(error)) from error


def _text_of(raw: IO[bytes]) -> TextIO:
    """The text of the file; bytes that are not UTF-8 come as surrogates, which `_Lines` notices."""
    binary: IO[bytes] | gzip.GzipFile = raw
    if isinstance(raw, io.BufferedReader) and raw.peek(2)[:2] == GZIP_MAGIC:
        binary = gzip.open(raw, "rb")  # noqa: SIM115 - holds nothing but `raw`
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Lines:
    """The lines of a text: how many there were, and whether one was not UTF-8.

    Raises UnreadableFile at a line longer than LINE_CHARS_MAX, which would fill the memory.
    """

    def __init__(self, name: str, text: TextIO) -> None:
        self._name = name
        self._text = text
        self.number = 0
        self.has_bad = False

    def __iter__(self) -> Iterator[str]:
        read_line = self._text.readline
        while line := read_line(LINE_CHARS_MAX):
            self.number += 1
            if len(line) == LINE_CHARS_MAX:
                raise UnreadableFile(
                    self._name, f"line {self.number} is longer than {LINE_CHARS_MAX:,} characters"
                )
            if not line.isascii() and not _is_utf8(line):
                self.has_bad = True
            yield line

    def take_bad(self) -> bool:
        was_bad, self.has_bad = self.has_bad, False
        return was_bad


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_table(name: str, text: TextIO, delimiter: str) -> Table:
    lines = _Lines(name, text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
    except (csv.Error, EOFError, OSError, zlib.error) as error:
        raise UnreadableFile(name, str(error)) from error
    if not header or lines.take_bad():
        raise UnreadableFile(name, "no header line" if not header else "not UTF-8 text")
    columns = tuple(column.strip() for column in header)
    return Table(name, columns, _csv_rows(name, reader, lines, width=len(columns)))


def _csv_rows(
    name: str, reader: Iterator[list[str]], lines: _Lines, *, width: int
) -> Iterator[tuple[int, Row | Refusal]]:
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            number = lines.number
            yield number, Refusal(number, "bad_row", f"{error}")
            continue
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableFile(name, f"broken after line {lines.number} ({error})") from error
        number = lines.number
        if row is None:
            return
        if lines.has_bad and lines.take_bad():
            yield number, Refusal(number, "bad_encoding", "the line is not UTF-8 text")
        elif len(row) == width:
            yield number, row
        elif row:
            detail = f"{len(row)} cells where the header has {width}"
            yield number, Refusal(number, "bad_row", detail)


def _jsonl_table(name: str, text: TextIO) -> Table:
    return Table(name, None, _jsonl_rows(name, _Lines(name, text)))


def _jsonl_rows(name: str, lines: _Lines) -> Iterator[tuple[int, Row | Refusal]]:
    try:
        for line in lines:
            if lines.take_bad():
                yield lines.number, Refusal(lines.number, "bad_encoding", "not UTF-8 text")
            elif not line.isspace():
                yield lines.number, _json_row(line, lines.number)
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFile(name, f"broken after line {lines.number} ({error})") from error


def _json_row(line: str, number: int) -> Row | Refusal:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Refusal(number, "bad_row", f"not JSON ({error})")
    if not isinstance(row, dict):
        return Refusal(number, "bad_row", "not a JSON object")
    return row
