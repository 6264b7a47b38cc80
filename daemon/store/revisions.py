"""Changes that are made only to what the client has seen: checked in their own transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from daemon.domain.errors import Stale
from daemon.store.named_sql import load
from daemon.store.pool import Connection

Noun = Literal[
    "metric", "device", "group", "rule", "channel", "silence", "watch", "alert", "key", "account"
]

SQL = load("revisions")
_TURNS: dict[Noun, str] = {
    "group": "hold_groups", "rule": "hold_rules", "watch": "hold_rules", "alert": "hold_rules",
    "key": "hold_keys",
}  # fmt: skip
"""What every change of such a row takes before the row, and this has to in the same order."""


class Precondition:
    """One row, and the revisions of it that the client names; it stands beside the change
    (store/pool). Of a group, `member` is the device that joins or leaves it."""

    def __init__(
        self, noun: Noun, row_id: str, *, revisions: Collection[str], member: str | None = None
    ) -> None:
        self._noun: Noun = noun
        self._row_id = row_id
        self._revisions = revisions
        self._member = member
        self._is_done = False
        self._is_stale = False

    async def begin(self, connection: Connection) -> None:
        """Hold the row, so that nobody changes it before this does."""
        if self._is_done:
            return
        if self._member is not None:
            # As everybody does: the device first, then the version of the groups.
            await connection.execute(SQL["hold_member"], self._member)
        if self._noun in _TURNS:
            await connection.execute(SQL[_TURNS[self._noun]])
        found = await connection.fetchval(SQL[self._noun], self._row_id)
        self._is_stale = found is not None and found not in self._revisions

    def end(self) -> None:
        """Raises Stale; only now, so that who may not see the row has heard that there is none."""
        if self._is_stale:
            raise Stale
        # What the change wrote is newer than what the client has seen.
        self._is_done = True
