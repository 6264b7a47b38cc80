"""CSV as bytes, cut into whole records and never re-encoded: an export is what the server sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from telemetryctl.files.points import UnreadableFile
from telemetryctl.files.stamps import parse_stamp_us


class BrokenTransfer(Exception):
    """The answer ended in the middle, or a second one differs from the first."""


def records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole records, each with its line end; a quoted cell may hold line ends of its own.

    Raises BrokenTransfer when the last record is incomplete.
    """
    rest = b""
    pending: list[bytes] = []
    quotes = 0
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            # RFC 4180 doubles quotes inside a cell, so a record is whole when their count is even.
            quotes += line.count(b'"')
            if quotes % 2 == 0 and not pending:
                yield line + b"\n"
            else:
                pending.append(line + b"\n")
                if quotes % 2 == 0:
                    yield b"".join(pending)
                    pending.clear()
            quotes %= 2
    if rest or pending:
        raise BrokenTransfer("the answer ended in the middle of a row")


def time_us_of(record: bytes) -> int:
    """The time of an exported row: its first cell. Raises UnreadableFile."""
    cell = record.split(b",", 1)[0].strip().strip(b'"').decode("utf-8", "replace")
    try:
        return parse_stamp_us(cell)
    except ValueError as error:
        raise UnreadableFile("the server's answer", f"a row without a time ({error})") from error


class Tally:
    """How many records went by, and a digest of them all in their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, record: bytes) -> None:
        self.rows += 1
        self._hash.update(record)

    def digest(self) -> str:
        return self._hash.hexdigest()


def after_seen(rows: Iterator[bytes], seen: Tally) -> Iterator[bytes]:
    """The records after those already seen, when an answer is asked for a second time.

    Raises BrokenTransfer when the beginning isn't the same any more.
    """
    again = Tally()
    while again.rows < seen.rows:
        record = next(rows, None)
        if record is None:
            raise BrokenTransfer("the data changed between two tries")
        again.add(record)
    if again.digest() != seen.digest():
        raise BrokenTransfer("the data changed between two tries")
    yield from rows
