"""Where a tail stopped: its place in the stream, or in the history before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from telemetryctl.files.atomic import BadState, read_json, write_json
from telemetryctl.files.points import Json

VERSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Everything up to `cursor` was printed, and `skip` points behind it.

    While history is printed `since` is its beginning, `page` the page it is at and `skip` counts
    in that page; the stream goes on at `cursor` afterwards.
    """

    cursor: str = ""
    skip: int = 0
    since: str = ""
    page: str = ""


@dataclass(slots=True)
class TailState:
    """The place as the file at `path` has it; another selection needs another state."""

    path: Path
    selection: dict[str, list[str]] = field(default_factory=dict)
    place: Place = Place()

    def save(self, place: Place) -> None:
        """Write the state whole, unless it is what the file says already."""
        if place == self.place:
            return
        self.place = place
        selection: dict[str, Json] = {key: list(names) for key, names in self.selection.items()}
        document: dict[str, Json] = {
            "telemetryctl": "tail",
            "version": VERSION,
            "selection": selection,
            "cursor": place.cursor,
            "skip": place.skip,
        }
        if place.since:
            document["history"] = {"since": place.since, "page": place.page}
        write_json(self.path, document, mode=0o600)


def load_state(path: Path, *, selection: dict[str, list[str]]) -> TailState:
    """The saved state, or a fresh one. Raises BadState for another selection or another file."""
    document = read_json(path)
    if document is None:
        return TailState(path, selection)
    if document.get("telemetryctl") != "tail" or document.get("version") != VERSION:
        raise BadState(f"{path} is not the state of a tail")
    if document.get("selection") != selection:
        raise BadState(f"{path} belongs to a tail of other devices, metrics, groups or tags")
    cursor, skip = document.get("cursor"), document.get("skip")
    history = document.get("history") or {"since": "", "page": ""}
    if not isinstance(cursor, str) or not isinstance(skip, int) or not isinstance(history, dict):
        raise BadState(f"{path} is damaged")
    since, page = history.get("since"), history.get("page")
    if not isinstance(since, str) or not isinstance(page, str):
        raise BadState(f"{path} is damaged")
    return TailState(path, selection, Place(cursor, skip, since, page))
