"""The files an export writes: under a temporary name until all of them are whole, then renamed."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from telemetryctl.files.atomic import LockHeld, partial_of, sync_folder

OPEN_FILES_MAX = 32
COPY_BYTES = 1 << 20
GZIP_LEVEL = 6
EXPORT_HEADER = b"timestamp,device_id,metric_name,value,unit,tags\n"


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A file that is whole and on disk, but still under its temporary name.

    rows     rows written now; rows the file had before are not counted
    sha256   of the whole file as it will be, old rows and new
    """

    partial: Path
    target: Path
    rows: int
    size_bytes: int
    sha256: str


class Part:
    """One target being written. Holds a lock on the temporary file, so two exports can't mix."""

    def __init__(self, target: Path, *, is_appending: bool, header: bytes) -> None:
        if target.is_symlink():
            target = target.resolve()  # the rename must replace the file and not the link
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.rows = 0
        self._partial = partial_of(target)
        self._is_gzip = target.suffix == ".gz"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file: IO[bytes] = open(os.open(self._partial, flags, 0o666), "r+b")  # noqa: SIM115
        self._stream: IO[bytes] | gzip.GzipFile | None = None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise LockHeld(self._partial) from error
        self._file.truncate(0)
        has_content = False
        if is_appending and target.exists():
            with target.open("rb") as old:
                shutil.copyfileobj(old, self._file, COPY_BYTES)
            has_content = self._file.tell() > 0
        if not has_content:
            self._writer().write(header)

    def _writer(self) -> IO[bytes] | gzip.GzipFile:
        if self._stream is None:
            # A new gzip member after the old ones: RFC 1952 section 2.2 makes that one file. No
            # name and no time inside, so that the same rows give the same bytes.
            self._stream = (
                gzip.GzipFile("", "wb", GZIP_LEVEL, self._file, mtime=0)
                if self._is_gzip
                else self._file
            )
        return self._stream

    def write(self, record: bytes) -> None:
        self._writer().write(record)
        self.rows += 1

    def rest(self) -> None:
        """Give memory back for a while: ends the gzip member, keeps the file."""
        if isinstance(self._stream, gzip.GzipFile):
            self._stream.close()
        self._stream = None

    def finish(self) -> FinishedPart:
        """Bring everything to disk; the target itself stays as it was."""
        self.rest()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256")  # type: ignore[arg-type]
        size_bytes = self._file.seek(0, os.SEEK_END)
        return FinishedPart(self._partial, self.target, self.rows, size_bytes, digest.hexdigest())

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Remove what was written; the target was never touched."""
        self._stream = None
        self._partial.unlink(missing_ok=True)
        self._file.close()


class PartSet:
    """The parts of one export by target; only the latest few hold compressors."""

    def __init__(self, *, is_appending: bool, header: bytes = EXPORT_HEADER) -> None:
        self._is_appending = is_appending
        self._header = header
        self._parts: dict[Path, Part] = {}
        self._awake: dict[Path, Part] = {}

    def write(self, target: Path, record: bytes) -> None:
        part = self._awake.get(target)
        if part is None:
            part = self._wake(target)
        part.write(record)

    def _wake(self, target: Path) -> Part:
        if len(self._awake) >= OPEN_FILES_MAX:
            self._awake.pop(next(iter(self._awake))).rest()
        part = self._parts.get(target)
        if part is None:
            part = Part(target, is_appending=self._is_appending, header=self._header)
            self._parts[target] = part
        self._awake[target] = part
        return part

    def __len__(self) -> int:
        return len(self._parts)

    def finish(self) -> list[FinishedPart]:
        return [part.finish() for part in self._parts.values()]

    def close(self) -> None:
        for part in self._parts.values():
            part.close()

    def discard(self) -> None:
        for part in self._parts.values():
            part.discard()
        self._parts.clear()
        self._awake.clear()


def rename_all(renames: list[tuple[Path, Path]]) -> None:
    """Give each file its real name; those that already have it are skipped. May be repeated."""
    for source, target in renames:
        if source.exists():
            source.replace(target)
    for folder in {target.parent for _, target in renames}:
        sync_folder(folder)
