"""Loads `sql/queries/<noun>.sql`: named queries, each `-- name --`, a line that says what it does,
and the statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

NAMES: dict[str, str] = {}
"""`noun.name` of each statement that was loaded, by its text."""
_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def sql_folder() -> Path:
    """Where the SQL lies: packaged as `daemon/_sql`, or beside the checkout."""
    packaged = Path(__file__).parent.parent / "_sql"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "sql"


def parse(text: str) -> dict[str, str]:
    """Name -> statement. Raises ValueError for a name that stands twice."""
    pieces = _NAME.split(text)
    found: dict[str, str] = {}
    for name, statement in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in found:
            raise ValueError(f"the query {name} stands twice")
        found[name] = statement.strip()
    return found


def load(noun: str) -> Mapping[str, str]:
    """The queries of one noun; a name that is missing raises KeyError at import of the store module
    that uses it."""
    found = parse((sql_folder() / "queries" / f"{noun}.sql").read_text())
    NAMES.update((statement, f"{noun}.{name}") for name, statement in found.items())
    return found
