"""A cursor: a place in the journal that REST, streams, the CLI and export manifests share.

Text `<epoch>-<seq>` or `<epoch>-<seq>.<offset>`, opaque to clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from daemon.domain.errors import Malformed

_CURSOR = re.compile(r"([0-9a-z]{1,16})-([0-9]{1,18})(?:\.([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """All of blocks <= `seq` were read, and of the next block after `seq` the first `offset`
    points."""

    epoch: str
    seq: int
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}" + (f".{self.offset}" if self.offset else "")


def parse_cursor(text: str) -> Cursor:
    """Raises Malformed when the text is no cursor."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise Malformed("the cursor is not one of ours", code="bad_cursor")
    return Cursor(found[1], int(found[2]), int(found[3] or 0))
