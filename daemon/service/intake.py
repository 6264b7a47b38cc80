"""Whether this process takes in: requests that wait while no commit succeeds are an outage of our
own, and no silence of devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DOWN_AFTER_US = 5_000_000
"""Requests may wait so long before it counts."""
UNSURE_AFTER_US = 1_000_000
"""After so long nobody is called silent before it is clear what becomes of it."""


@dataclass(frozen=True, slots=True)
class IntakeNumbers:
    """Commits since the start that were made, that failed, and whether requests wait just now."""

    commits: int
    failed: int
    is_waiting: bool


class Intake:
    """Looked at again and again; `numbers` are those of service/ingest.

    since_us  since when this process takes in without a break
    """

    def __init__(self, numbers: Callable[[], IntakeNumbers], *, now_us: int) -> None:
        self._numbers = numbers
        self._seen = numbers()
        self._stuck_us: int | None = None
        self._away_us: int | None = None
        self._asked_us = self._now_us = now_us
        self.since_us = now_us

    def look(self, now_us: int) -> None:
        """See whether commits go on; every turn of the evaluator does."""
        found, self._now_us = self._numbers(), now_us
        if found.commits != self._seen.commits:
            self._go_on()
        elif found.is_waiting or found.failed != self._seen.failed:
            self._stuck_us = now_us if self._stuck_us is None else self._stuck_us
            self._asked_us = now_us
        elif now_us - self._asked_us > DOWN_AFTER_US:
            # Whoever waited gave up, and nobody asks any more.
            self._go_on()
        self._seen = found

    def failed(self, now_us: int) -> None:
        """The database could not be used just now, so nobody could commit either."""
        self._away_us = now_us if self._away_us is None else self._away_us

    @property
    def is_unsure(self) -> bool:
        """Whether it looks as if nothing could be taken in, but for a moment only."""
        return self._is_long(self._stuck_us, UNSURE_AFTER_US)

    def down_us(self) -> int | None:
        """Since when nothing could be taken in; None when it can. An outage of the database is told
        once, when it is over."""
        away_us, self._away_us = self._away_us, None
        if self._is_long(away_us, DOWN_AFTER_US):
            self.since_us = self._now_us
            return away_us
        return self._stuck_us if self._is_long(self._stuck_us, DOWN_AFTER_US) else None

    def _go_on(self) -> None:
        if self._is_long(self._stuck_us, DOWN_AFTER_US):
            self.since_us = self._now_us
        self._stuck_us = None

    def _is_long(self, since_us: int | None, enough_us: int) -> bool:
        return since_us is not None and self._now_us - since_us >= enough_us
