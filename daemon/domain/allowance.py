"""How often something may happen: so many a second, and so many at once."""

from __future__ import annotations


class Allowance:
    """A token bucket; `now_s` is of any clock that never goes back."""

    __slots__ = ("_at_s", "_left", "burst", "per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._left = float(burst)
        self._at_s: float | None = None

    def take(self, now_s: float, amount: float = 1) -> bool:
        """Whether it may happen now; if so it is counted. More than may be at once is taken from a
        full bucket, which then is owed the rest."""
        if self._at_s is not None:
            self._left = min(self.burst, self._left + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        if self._left < min(amount, self.burst):
            return False
        self._left -= amount
        return True

    def give_back(self) -> None:
        """What was counted last did not happen."""
        self._left = min(self.burst, self._left + 1)

    def wait_s(self, now_s: float, amount: float = 1) -> float:
        """Seconds until it may happen again."""
        del now_s
        return max(0.0, (min(amount, self.burst) - self._left) / self.per_s)
