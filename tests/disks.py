"""A disk of its own for a test, small enough to be filled: a file system in memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MISSING = "a file system can't be mounted here (it needs root)"


@dataclass(frozen=True)
class Disk:
    """`folder` is its root, which every account may enter."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte."""
        with (self.folder / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                return

    def free(self) -> None:
        (self.folder / "filler").unlink()


@contextmanager
def a_disk(*, mib: int) -> Iterator[Disk]:
    """Mounted until the end of the block; skips the test where that is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="tlmdisk-"))
    # The account that PostgreSQL runs as has to get through.
    folder.chmod(0o755)
    wanted = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(wanted, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip(MISSING)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()
