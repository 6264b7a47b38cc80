"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from telemetryctl.files.points import Json


class LockHeld(Exception):
    """Another process is at work with this file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another process holds {path}")
        self.path = path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `PATH.lock` for the block. The kernel drops it with the process, however that dies.

    The lock file stays: removing it would let two processes hold locks on two files of one name.
    Raises LockHeld at once when it is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(lock) from error
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace the file's content so that a reader, or a crash, sees the old or the new one.

    The caller holds a lock: the temporary name is always the same, so that what a killed process
    leaves is overwritten by the next one.
    """
    partial = partial_of(path)
    try:
        write_synced(partial, content, mode=mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def partial_of(path: Path) -> Path:
    """The temporary name: hidden, and beside the file so that a rename doesn't copy."""
    return path.with_name(f".{path.name}.partial")


def write_synced(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write and bring to disk, under the very name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power cut (fsync(2): the entry needs its own sync)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: dict[str, Json], *, mode: int = 0o666) -> None:
    """Write a document whole, indented, for people to read."""
    write_whole(path, json_bytes(document), mode=mode)


def json_bytes(document: dict[str, Json]) -> bytes:
    """Indented JSON that ends with a newline."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


class BadState(Exception):
    """A state file is no state file of this program, or of another command."""


def read_json(path: Path) -> dict[str, Json] | None:
    """The document, or None when there is no file. Raises BadState."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadState(f"{path} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise BadState(f"{path} is not a JSON object")
    return document
