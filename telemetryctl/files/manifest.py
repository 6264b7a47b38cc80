"""What is in an exported file, written beside it as `FILE.manifest.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from telemetryctl.files.atomic import BadState, read_json
from telemetryctl.files.parts import FinishedPart
from telemetryctl.files.points import Json

VERSION = 1


@dataclass(frozen=True, slots=True)
class Portion:
    """What one run added.

    query       what was asked, without anything secret
    first, last cursors the rows lie between: after `first`, up to and including `last`
    revision    number of the run; a correction has a higher one than the row it corrects
    """

    query: dict[str, Json]
    first: str
    last: str
    revision: int = 0
    gap: str | None = None


def manifest_of(target: Path) -> Path:
    """The manifest's own path."""
    return target.with_name(target.name + ".manifest.json")


def describe(part: FinishedPart, portion: Portion, *, is_appending: bool) -> dict[str, Json]:
    """The manifest of a finished file, with the portions that earlier runs put into it."""
    earlier = _earlier(part.target) if is_appending else []
    entry: dict[str, Json] = {
        "revision": portion.revision,
        "rows": part.rows,
        "first_position": portion.first or None,
        "last_position": portion.last or None,
        "query": portion.query,
    }
    if portion.gap:
        entry["gap"] = portion.gap
    portions: list[Json] = [*earlier, entry]
    rows = sum(int(str(p.get("rows", 0))) for p in portions if isinstance(p, dict))
    first = portions[0].get("first_position") if isinstance(portions[0], dict) else None
    return {
        "telemetryctl": "manifest",
        "version": VERSION,
        "file": part.target.name,
        "rows": rows,
        "bytes": part.size_bytes,
        "sha256": part.sha256,
        "first_position": first,
        "last_position": portion.last or None,
        "portions": portions,
    }


def _earlier(target: Path) -> list[Json]:
    if not target.exists():
        return []
    document = read_json(manifest_of(target)) or {}
    portions = document.get("portions")
    return portions if isinstance(portions, list) else []


def is_complete(target: Path, query: dict[str, Json]) -> bool:
    """Whether an earlier run finished this file with the same question."""
    try:
        document = read_json(manifest_of(target))
    except BadState:
        return False
    if document is None or not target.exists():
        return False
    portions = document.get("portions")
    if not isinstance(portions, list) or len(portions) != 1 or not isinstance(portions[0], dict):
        return False
    return portions[0].get("query") == query and target.stat().st_size == document.get("bytes")
