"""Where a setting stands in a TOML file, and which name was probably meant: for people who mend
one. What settings there are is config.py's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

Path = tuple[str | int, ...]

_TABLE = re.compile(r"(\[{1,2})([^\]\[#]+)\]")
_KEY = re.compile(r"[A-Za-z0-9_\"'. -]+")
SIMILAR = 0.6


def line_of(text: str, wanted: Path) -> int | None:
    """The line, from 1 on, of the setting or of what it stands in; None when neither is there.

    `wanted` has the number of the element where there is a list of tables.
    """
    found, length = None, 0
    for number, path in _settings_in(text):
        if length < len(path) <= len(wanted) and wanted[: len(path)] == path:
            found, length = number, len(path)
    return found


def _settings_in(text: str) -> Iterator[tuple[int, Path]]:
    """Line and path of each table and key."""
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        heading = _TABLE.match(stripped)
        key, equals, _ = stripped.partition("=")
        if heading is not None:
            table = _numbered(_parts(heading[2]), counts)
            if heading[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield number, table
        elif equals and _KEY.fullmatch(key):
            yield number, (*table, *_parts(key))


def _numbered(parts: Path, counts: dict[Path, int]) -> Path:
    """With the number of the element in which it stands, if that is one of a list."""
    path: Path = ()
    for place, part in enumerate(parts):
        path = (*path, part)
        if path in counts and place < len(parts) - 1:
            path = (*path, counts[path])
    return path


def _parts(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that is most like it, if one is."""
    found = get_close_matches(name, list(names), n=1, cutoff=SIMILAR)
    return found[0] if found else None
