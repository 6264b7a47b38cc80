"""The file of refused rows: each row as it was, with why, ready to be mended and imported again."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from telemetryctl.files.points import Json, Refusal, Row

ERROR_COLUMNS = ("error_file", "error_line", "error_code", "error_detail")


class Refusals:
    """Counts refused points and, with a path, writes their rows: CSV for `.csv`, else JSON Lines.

    A CSV file has the columns of the imported file and then ERROR_COLUMNS; rows of a file with
    other columns follow below a header of their own.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.is_appending = False
        self.counts: Counter[str] = Counter()
        self._file: TextIO | None = None
        self._columns: tuple[str, ...] | None = None

    @property
    def total(self) -> int:
        return self.counts.total()

    def summary(self) -> str:
        """`3 refused: 2 out_of_bounds, 1 bad_timestamp`."""
        kinds = ", ".join(f"{count:,} {code}" for code, count in self.counts.most_common())
        return f"{self.total:,} refused: {kinds}"

    def add(self, name: str, refusal: Refusal, *, row: Row | None, columns: Sequence[str]) -> None:
        """Count one and write its row, if there is one."""
        self.counts[refusal.code] += 1
        if self.path is None:
            return
        if self._file is None:
            self._open(self.path)
        assert self._file is not None
        reason = (name, refusal.line, refusal.code, refusal.detail)
        if self.path.suffix == ".csv":
            self._write_csv(row, tuple(columns), reason)
        else:
            fields: dict[str, Json] = dict(zip(ERROR_COLUMNS, reason, strict=True))
            if refusal.metric_name is not None:
                fields["error_metric"] = refusal.metric_name
            whole = dict(zip(columns, row, strict=False)) if isinstance(row, list) else row or {}
            self._file.write(json.dumps({**whole, **fields}, ensure_ascii=False) + "\n")

    def _open(self, path: Path) -> None:
        """Begin the file; a resumed import adds to what the stopped one wrote."""
        if self.is_appending and path.suffix == ".csv" and path.exists():
            with path.open(encoding="utf-8", newline="") as known:
                header = next(csv.reader(known), [])
            self._columns = tuple(header[: -len(ERROR_COLUMNS)]) or None
        if not self.is_appending:
            path.unlink(missing_ok=True)
        self._file = path.open("a", encoding="utf-8", newline="")

    def _write_csv(
        self, row: Row | None, columns: tuple[str, ...], reason: tuple[str, int, str, str]
    ) -> None:
        assert self._file is not None
        writer = csv.writer(self._file, lineterminator="\n")
        cells = row if isinstance(row, list) else [json.dumps(row)] if row else []
        header = columns or ("row",)
        if self._columns != header:
            writer.writerow((*header, *ERROR_COLUMNS))
            self._columns = header
        writer.writerow((*cells, *[""] * (len(header) - len(cells)), *reason))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
