"""A point as a file holds it, and a row that became none. Mapping says which cell is what."""

from __future__ import annotations

from typing import NamedTuple

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Value = bool | int | float | str | list[Json] | dict[str, Json]
Tags = tuple[tuple[str, str], ...]
Row = list[str] | dict[str, Json]


class Point(NamedTuple):
    """One measured value.

    time_us   microseconds since 1970-01-01T00:00Z
    tags      pairs sorted by key, so that equal tags compare equal
    line      line of the file (1 is the first) on which its row ends
    """

    device_id: str
    metric_name: str
    time_us: int
    value: Value
    unit: str | None
    tags: Tags
    line: int
    metadata: dict[str, Json] | None = None


class Refusal(NamedTuple):
    """A row, or one cell of it, that was not stored, with the contract's code and one sentence."""

    line: int
    code: str
    detail: str
    metric_name: str | None = None


class UnreadableFile(Exception):
    """The file can't be read to its end, or isn't what its name says."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
