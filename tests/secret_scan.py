"""Looks for secrets where they must not be, in every form that they may have there."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

EVERY_S = 0.03


def forms_of(secret: str) -> set[bytes]:
    """As it is, in a URL, as PostgreSQL shows bytes, and in both alphabets of base64."""
    raw = secret.encode()
    coded = {base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    return {raw, quote(secret, safe="").encode(), raw.hex().encode()} | coded


def found_in(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """`place: secret` for each secret that stands in a place."""
    return [
        f"{place}: {name}"
        for place, text in places.items()
        for name, secret in secrets.items()
        if any(form in text for form in forms_of(secret))
    ]


class ProcessList:
    """What everybody on this host sees of its processes, and the environment of descendants of
    one, collected all the while."""

    def __init__(self, ancestor: int) -> None:
        self.commands: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._ancestor = ancestor
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._is_over.set()
        self._thread.join()

    def look(self) -> None:
        parents: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                self.commands.add((folder / "cmdline").read_bytes())
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        for pid in parents:
            if self._descends(pid, parents):
                # Each time: it has that of its parent until it runs its own program.
                with suppress(OSError):
                    self.environments.add(Path(f"/proc/{pid}/environ").read_bytes())

    def _descends(self, pid: int, parents: Mapping[int, int]) -> bool:
        while (pid := parents.get(pid, 0)) > 1:
            if pid == self._ancestor:
                return True
        return False

    def _watch(self) -> None:
        while not self._is_over.wait(EVERY_S):
            self.look()

    def places(self) -> dict[str, bytes]:
        return {
            "process list": b"\n".join(tuple(self.commands)),
            "environment of children": b"\n".join(tuple(self.environments)),
        }
