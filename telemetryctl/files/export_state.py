"""How far an incremental export came, and the renames it owes when it was killed in between.

The state file is the commit point. An export first brings its files to disk under temporary
names, then writes the renames it is about to do and the new cursor as `pending` in one atomic
step, renames, and clears `pending`. Killed before that step, nothing has happened; killed after
it, the next run does the renames. So each row is in the files exactly once, even when a run
appends to a file of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from telemetryctl.files.atomic import BadState, read_json, write_json
from telemetryctl.files.parts import rename_all
from telemetryctl.files.points import Json

VERSION = 1


@dataclass(slots=True)
class Pending:
    """Files that are whole under their temporary names, and the cursor after them."""

    cursor: str
    renames: list[tuple[Path, Path]]


@dataclass(slots=True)
class ExportState:
    """What is exported already, as the file at `path` has it.

    cursor     the journal position it ended at; empty before the first run
    selection  devices and metrics; another selection needs another state
    revision   number of runs that wrote something
    """

    path: Path
    cursor: str = ""
    selection: dict[str, list[str]] = field(default_factory=dict)
    revision: int = 0
    pending: Pending | None = None


def load_state(path: Path, *, selection: dict[str, list[str]]) -> ExportState:
    """The saved state, or a fresh one. Raises BadState for another selection or another file."""
    document = read_json(path)
    if document is None:
        return ExportState(path, selection=selection)
    if document.get("telemetryctl") != "export" or document.get("version") != VERSION:
        raise BadState(f"{path} is not the state of an export")
    if document.get("selection") != selection:
        raise BadState(f"{path} belongs to an export of other devices or metrics")
    cursor, revision = document.get("cursor"), document.get("revision")
    if not isinstance(cursor, str) or not isinstance(revision, int):
        raise BadState(f"{path} is damaged")
    return ExportState(path, cursor, selection, revision, _pending(path, document.get("pending")))


def _pending(path: Path, document: Json) -> Pending | None:
    if document is None:
        return None
    try:
        assert isinstance(document, dict)
        renames = document["renames"]
        assert isinstance(renames, list)
        pairs = [(Path(str(pair["from"])), Path(str(pair["to"]))) for pair in renames]  # type: ignore[index, call-overload]
        return Pending(str(document["cursor"]), pairs)
    except (AssertionError, KeyError, TypeError) as error:
        raise BadState(f"{path} is damaged") from error


def save_state(state: ExportState) -> None:
    """Write the state whole."""
    pending: Json = None
    if state.pending is not None:
        renames: list[Json] = [{"from": str(a), "to": str(b)} for a, b in state.pending.renames]
        pending = {"cursor": state.pending.cursor, "renames": renames}
    selection: dict[str, Json] = {key: list(names) for key, names in state.selection.items()}
    document: dict[str, Json] = {
        "telemetryctl": "export",
        "version": VERSION,
        "cursor": state.cursor,
        "selection": selection,
        "revision": state.revision,
        "pending": pending,
    }
    write_json(state.path, document, mode=0o600)


def commit(state: ExportState, *, pending: Pending) -> None:
    """Make the finished files visible and move the cursor, all or nothing across crashes."""
    state.pending = pending
    save_state(state)
    settle(state)


def settle(state: ExportState) -> bool:
    """Do the renames a killed run owed. True if there were any."""
    if state.pending is None:
        return False
    rename_all(state.pending.renames)
    state.cursor = state.pending.cursor
    state.revision += 1
    state.pending = None
    save_state(state)
    return True
