"""Debian's slowhttptest: clients that send or read as slowly as they can."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

MISSING = "slowhttptest is not installed (make test installs it)"
ALL_CLOSED = "No open connections left"

Kind = Literal["header", "body", "read"]


@dataclass(frozen=True, slots=True)
class Attack:
    """`connections` of one kind, opened `per_s` in a second or all at once; it ends by itself when
    the server has closed them all, or after `seconds`."""

    kind: Kind
    connections: int
    seconds: int
    per_s: int | None = None

    def command(self, url: str) -> list[str]:
        """None of them needs a credential, so none of them is refused early."""
        arguments = {
            "header": ["-H", "-u", f"{url}/health", "-x", "10"],
            "body": ["-B", "-u", f"{url}/auth/login", "-s", "8192", "-x", "10"],
            # Windows of a few bytes, of which five are read a second; three answers each.
            "read": ["-X", "-u", f"{url}/api/openapi.json", "-k", "3", "-w", "10", "-y", "20",
                     "-n", "1", "-z", "5"],
        }  # fmt: skip
        number = str(self.connections)
        program = shutil.which("slowhttptest") or "slowhttptest"
        per_s = str(self.per_s or self.connections)
        return [program, *arguments[self.kind], "-c", number, "-r", per_s,
                "-i", "1", "-l", str(self.seconds)]  # fmt: skip


def is_installed() -> bool:
    return shutil.which("slowhttptest") is not None


@contextmanager
def attacking(url: str, attacks: Sequence[Attack]) -> Iterator[list[subprocess.Popen[str]]]:
    """All of them at once; what still runs at the end of the block is killed."""
    running = [
        subprocess.Popen(
            attack.command(url), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for attack in attacks
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()
