"""Changes that are made only to what the client has seen: checked in their own transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from daemon.domain.errors import Stale
from daemon.store.named_sql import load
from daemon.store.pool import Connection

Noun = Literal["metric", "device", "group", "rule", "channel", "silence", "watch", "alert"]

SQL = load("revisions")
_QUERIES = {
    "metric": SQL["metric"],
    "device": SQL["device"],
    "group": SQL["group"],
    "rule": SQL["rule"],
    "channel": SQL["channel"],
    "silence": SQL["silence"],
    "watch": SQL["watch"],
    "alert": SQL["alert"],
}


class Precondition:
    """One row, and the revisions of it that the client names; it stands beside the change
    (store/pool)."""

    def __init__(self, noun: Noun, row_id: str, *, revisions: Collection[str]) -> None:
        self._query = _QUERIES[noun]
        self._row_id = row_id
        self._revisions = revisions
        self._is_done = False
        self._is_stale = False

    async def begin(self, connection: Connection) -> None:
        """Hold the row, so that nobody changes it before this does."""
        if self._is_done:
            return
        found = await connection.fetchval(self._query, self._row_id)
        self._is_stale = found is not None and found not in self._revisions

    def end(self) -> None:
        """Raises Stale; only now, so that who may not see the row has heard that there is none."""
        if self._is_stale:
            raise Stale
        # What the change wrote is newer than what the client has seen.
        self._is_done = True
