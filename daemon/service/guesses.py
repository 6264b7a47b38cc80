"""How many wrong credentials may be tried: for one name, and from one address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.clock import Clock
from daemon.domain.allowance import Allowance
from daemon.domain.budgets import NOBODY, Policy, RateClass, Standing
from daemon.domain.clients import network_of
from daemon.domain.errors import RateLimited, Unauthenticated

WINDOW_S = 900
OF_A_NAME_MAX = 10
OF_AN_ADDRESS_MAX = 50
_OF_A_NAME = Policy(RateClass.REFUSED, NOBODY, OF_A_NAME_MAX, lasts_s=WINDOW_S)
_OF_AN_ADDRESS = Policy(RateClass.REFUSED, NOBODY, OF_AN_ADDRESS_MAX, lasts_s=WINDOW_S)
ENTRIES_MAX = 10_000
"""Names and addresses that are remembered; over it the one that was longest unseen is forgotten."""


class Guesses:
    """Counts what fails. What is under way counts too, so that a thousand at once are no way in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names = _Limits(_OF_A_NAME)
        self._addresses = _Limits(_OF_AN_ADDRESS)

    def __len__(self) -> int:
        return len(self._names) + len(self._addresses)

    @contextmanager
    def attempt(self, *, name: str | None, address: str) -> Iterator[None]:
        """Around a check: it stays counted when that raises Unauthenticated.

        Raises RateLimited, before, when there were too many.
        """
        now_s = self._clock.monotonic_s()
        address = network_of(address)
        self._addresses.take(address, now_s)
        try:
            if name is not None:
                self._names.take(name.lower(), now_s)
        except RateLimited:
            self._addresses.give_back(address)
            raise
        try:
            yield
        except Unauthenticated:
            raise
        except BaseException:
            self._take_back(name, address)
            raise
        self._take_back(name, address)

    def _take_back(self, name: str | None, address: str) -> None:
        self._addresses.give_back(address)
        if name is not None:
            self._names.give_back(name.lower())


class _Limits:
    """One allowance for each name or address."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._found: OrderedDict[str, Allowance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def take(self, who: str, now_s: float) -> None:
        allowance = self._found.get(who)
        if allowance is None:
            limit = self._policy.limit
            allowance = self._found[who] = Allowance(limit / WINDOW_S, limit)
            if len(self._found) > ENTRIES_MAX:
                self._found.popitem(last=False)
        self._found.move_to_end(who)
        if not allowance.take(now_s):
            wait_s = int(allowance.wait_s(now_s)) + 1
            error = RateLimited("too many logins have failed", retry_after_s=wait_s)
            error.standing = Standing(self._policy, 0, wait_s)
            raise error

    def give_back(self, who: str) -> None:
        allowance = self._found.get(who)
        if allowance is not None:
            allowance.give_back()
