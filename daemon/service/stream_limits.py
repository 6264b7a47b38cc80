"""How many streams one key or address may have open, and open in an hour (C-18).

Counted in this process; those of a key in an hour also in service/limits, for all processes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.budgets import NOBODY, RateClass
from daemon.domain.clients import network_of
from daemon.domain.errors import RateLimited

HOUR_S = 3_600.0
SUBJECTS_MAX = 10_000
"""Over it the one longest without a connect is forgotten, unless it has open ones."""
EXEMPT_TIER = "enterprise"


@dataclass(slots=True)
class _Subject:
    open: int = 0
    connects_s: deque[float] = field(default_factory=deque)


class StreamLimits:
    """`open_max` at a time and `hourly_max` new ones in any 60 minutes; 0 is no limit.

    Who has shown a key is counted by the key, enterprise not at all; others by their address.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        open_max: int = 100,
        hourly_max: int = 100,
        is_exempt: Callable[[str], bool] = lambda _: False,
        refused: Counter[tuple[str, str]] | None = None,
    ) -> None:
        self._clock = clock
        self._is_exempt = is_exempt
        self._refused: Counter[tuple[str, str]] = Counter() if refused is None else refused
        self._open_max = open_max
        self._hourly_max = hourly_max
        self._subjects: dict[str, _Subject] = {}

    def open_of_address(self, address: str) -> Slot:
        """A handshake without a credential, or with one that was refused. Raises RateLimited."""
        if self._is_exempt(address):
            return Slot(self, None, False)
        return self._admit(f"address {network_of(address)}", NOBODY, is_counted=True)

    def open_of_key(self, principal: Principal, *, is_resume: bool, address: str = "") -> Slot:
        """A stream of a key; one that resumes is no new one. Raises RateLimited."""
        if principal.tier == EXEMPT_TIER or self._is_exempt(address):
            return Slot(self, None, False)
        return self._admit(principal.key_id, principal.tier, is_counted=not is_resume)

    def _admit(self, name: str, tier: str, *, is_counted: bool) -> Slot:
        try:
            return self._open(name, is_counted=is_counted)
        except RateLimited:
            self._refused[RateClass.STREAM.value, tier] += 1
            raise

    def _open(self, name: str, *, is_counted: bool) -> Slot:
        now_s = self._clock.monotonic_s()
        subject = self._subjects.pop(name, None) or _Subject()
        self._subjects[name] = subject
        self._forget_oldest()
        recent = subject.connects_s
        while recent and now_s - recent[0] >= HOUR_S:
            recent.popleft()
        if self._open_max and subject.open >= self._open_max:
            raise RateLimited(f"{subject.open} streams are open already", retry_after_s=60)
        if is_counted and self._hourly_max and len(recent) >= self._hourly_max:
            wait_s = HOUR_S - (now_s - recent[0])
            raise RateLimited(
                f"{len(recent)} new streams in an hour are the limit", retry_after_s=int(wait_s) + 1
            )
        subject.open += 1
        if is_counted and self._hourly_max:
            recent.append(now_s)
        return Slot(self, name, is_counted)

    def _forget_oldest(self) -> None:
        if len(self._subjects) <= SUBJECTS_MAX:
            return
        idle = next((name for name, one in self._subjects.items() if not one.open), None)
        if idle is not None:
            del self._subjects[idle]

    def close(self, name: str, *, forget: bool) -> None:
        subject = self._subjects.get(name)
        if subject is None:
            return
        subject.open -= 1
        if forget:
            self.forget_connect(name)

    def forget_connect(self, name: str) -> None:
        """The newest of its connects was none."""
        subject = self._subjects.get(name)
        if subject is not None and subject.connects_s:
            subject.connects_s.pop()


@dataclass(slots=True)
class Slot:
    """One open stream among those that are limited."""

    limits: StreamLimits
    name: str | None
    is_counted: bool
    uncount: Callable[[], None] | None = None
    """Told once when it was no new stream after all."""

    def close(self) -> None:
        """The stream is gone. A second call does nothing."""
        self._leave(stays_counted=True)

    def take_back(self) -> None:
        """It was no new stream after all: it authenticated, or it resumed."""
        self._leave(stays_counted=False)

    def was_resume(self) -> None:
        """It goes on where another stream ended, so it was no new one."""
        if self.name is not None and self.is_counted:
            self.is_counted = False
            self.limits.forget_connect(self.name)
            self._uncount()

    def _leave(self, *, stays_counted: bool) -> None:
        if self.name is None:
            return
        was_none = self.is_counted and not stays_counted
        self.limits.close(self.name, forget=was_none)
        self.name = None
        if was_none:
            self._uncount()

    def _uncount(self) -> None:
        uncount, self.uncount = self.uncount, None
        if uncount is not None:
            uncount()
