"""How many requests there were in the last hour, by half minutes; what a number allows is asked
of domain/budgets.

The database counts in the same way for all daemons (sql/migrations/0012_limits.sql).
"""

from __future__ import annotations

SLOT_S = 30
WINDOW_S = 3_600
_SLOTS = WINDOW_S // SLOT_S


class SlidingWindow:
    """A counter that forgets; `now_s` is of any clock that never goes back.

    A slot counts until its youngest request is an hour old, so no hour holds more than was allowed,
    and a request counts for half a minute longer at most.
    """

    __slots__ = ("_counts", "_slots", "_used")

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._counts: list[int] = []
        self._used = 0

    def used(self, now_s: float) -> int:
        """How many count now."""
        slots = self._slots
        if slots:
            oldest = int(now_s // SLOT_S) - _SLOTS
            while slots and slots[0] < oldest:
                self._used -= self._counts.pop(0)
                slots.pop(0)
        return self._used

    def add(self, amount: int, now_s: float) -> None:
        """So many happened now."""
        slot = int(now_s // SLOT_S)
        if self._slots and self._slots[-1] >= slot:
            self._counts[-1] += amount
        else:
            self.used(now_s)
            self._slots.append(slot)
            self._counts.append(amount)
        self._used += amount

    def wait_s(self, now_s: float) -> float:
        """Seconds until the oldest that count do so no longer; 0 when none do."""
        if not self.used(now_s):
            return 0.0
        return (self._slots[0] + _SLOTS + 1) * SLOT_S - now_s
