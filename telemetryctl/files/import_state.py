"""How far an import came, on disk, so that a killed one goes on where it stopped."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from telemetryctl.files.atomic import BadState, read_json, write_json
from telemetryctl.files.points import Json

VERSION = 1
HEAD_BYTES = 64 * 1024


@dataclass(slots=True)
class FileProgress:
    """One input file: its name, how its first bytes look, and how many rows are committed."""

    name: str
    head: str
    rows: int = 0
    is_done: bool = False


@dataclass(slots=True)
class ImportState:
    """What a resumed import must repeat exactly: the id its batches are named by, and the shift.

    options   digest of the mapping and of the batch bounds: with others the batches would differ
    shift_us  what was added to each stamp
    """

    import_id: str
    options: str
    shift_us: int
    files: list[FileProgress] = field(default_factory=list)
    stored: int = 0
    refused: int = 0

    def file(self, name: str, *, head: str) -> FileProgress:
        """The progress of a file. Raises BadState if its beginning isn't what was imported."""
        for progress in self.files:
            if progress.name == name:
                if progress.head != head:
                    raise BadState(f"{name} is not the file that was imported under this name")
                return progress
        progress = FileProgress(name, head)
        self.files.append(progress)
        return progress


def digest(*parts: object) -> str:
    """A short name for a set of options, equal for equal ones."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def head_of(name: str) -> str:
    """A digest of the first two lines of a file: growing doesn't change it.

    They are taken after decompression, as a gzip stream's own head changes when it is packed anew.
    """
    with Path(name).open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines = gzip.open(raw) if is_gzip else raw  # noqa: SIM115 - holds nothing but `raw`
        return hashlib.sha256(b"".join(lines.readline(HEAD_BYTES) for _ in range(2))).hexdigest()


def save_state(path: Path, state: ImportState) -> None:
    """Write the state whole. It holds no secrets and no data."""
    files: list[Json] = [
        {"name": f.name, "head": f.head, "rows": f.rows, "done": f.is_done} for f in state.files
    ]
    document: dict[str, Json] = {
        "telemetryctl": "import",
        "version": VERSION,
        "import_id": state.import_id,
        "options": state.options,
        "shift_us": state.shift_us,
        "files": files,
        "stored": state.stored,
        "refused": state.refused,
    }
    write_json(path, document, mode=0o600)


def load_state(path: Path) -> ImportState | None:
    """The saved state, None when there is none. Raises BadState for any other file."""
    document = read_json(path)
    if document is None:
        return None
    if document.get("telemetryctl") != "import" or document.get("version") != VERSION:
        raise BadState(f"{path} is not the state of an import")
    try:
        files = document["files"]
        assert isinstance(files, list)
        return ImportState(
            import_id=str(document["import_id"]),
            options=str(document["options"]),
            shift_us=_whole(document["shift_us"]),
            files=[_file_progress(entry) for entry in files],
            stored=_whole(document["stored"]),
            refused=_whole(document["refused"]),
        )
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise BadState(f"{path} is damaged") from error


def _file_progress(entry: Json) -> FileProgress:
    if not isinstance(entry, dict):
        raise ValueError(entry)
    name, head = str(entry["name"]), str(entry["head"])
    return FileProgress(name, head, rows=_whole(entry["rows"]), is_done=entry["done"] is True)


def _whole(value: Json) -> int:
    if not isinstance(value, int):
        raise ValueError(value)
    return value
