"""What this process remembers of credentials for a few seconds, good and bad.

Service/keys decides which is which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from daemon.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    expires_at_s: float


class ExpiringCache(Generic[T]):
    """At most `entries_max` values by digest; at the bound the oldest goes."""

    def __init__(self, clock: Clock, *, entries_max: int) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._entries: dict[bytes, _Entry[T]] = {}
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> T | None:
        """The value, or None when it is absent or too old."""
        entry = self._entries.get(digest)
        if entry is None or entry.expires_at_s <= self._clock.monotonic_s():
            return None
        self.hits += 1
        return entry.value

    def put(self, digest: bytes, value: T, *, lifetime_s: float) -> None:
        self._entries.pop(digest, None)
        while len(self._entries) >= self._entries_max:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = _Entry(value, self._clock.monotonic_s() + lifetime_s)

    def discard(self, digest: bytes) -> None:
        self._entries.pop(digest, None)

    def clear(self) -> None:
        self._entries.clear()
