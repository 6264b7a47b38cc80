"""What is said again and again, but of each thing only now and then."""

from __future__ import annotations

from collections import OrderedDict


class Seldom:
    """Each thing once in `every_s`; of more than `entries_max` the one said longest ago is
    forgotten."""

    __slots__ = ("_entries_max", "_every_s", "_said_s")

    def __init__(self, *, every_s: float, entries_max: int) -> None:
        self._every_s = every_s
        self._entries_max = entries_max
        self._said_s: OrderedDict[str, float] = OrderedDict()

    def is_due(self, what: str, now_s: float) -> bool:
        """Whether to say it now; then it counts as said. `now_s` is of any clock that never goes
        back."""
        if now_s - self._said_s.get(what, -self._every_s) < self._every_s:
            return False
        self._said_s[what] = now_s
        self._said_s.move_to_end(what)
        if len(self._said_s) > self._entries_max:
            self._said_s.popitem(last=False)
        return True
