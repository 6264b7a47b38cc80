"""What one process holds of one budget: what it took from the database and has not used yet.

When it asks for more is decided in service/limits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import ceil

from daemon.domain.allowance import Allowance
from daemon.domain.budgets import Payer, Policy, Standing
from daemon.domain.errors import RateLimited
from daemon.domain.sliding_window import SlidingWindow
from daemon.store.limits import Grant, Taking

ASKED_AGAIN_S = 10.0
"""What is used up is asked for again after so long: others may have given something back."""


@dataclass(slots=True, eq=False)
class Budget:
    """Times are monotonic. `owed` was let in without asking, or, negative, is to be given back.

    `payers` are those in whose budgets it is counted as well, in the database. It `is_held` until
    it is forgotten, or may have become another one.
    """

    subject: str
    policy: Policy
    left: int = 0
    left_over: int = 0
    owed: int = 0
    taken_at_s: float = 0.0
    more_at_s: float = 0.0
    refused_until_s: float = 0.0
    refused_amount: int = 0
    waiting: int = 0
    turn: asyncio.Lock | None = None
    own: SlidingWindow = field(default_factory=SlidingWindow)
    own_points: Allowance | None = None
    payers: tuple[Payer, ...] = ()
    is_held: bool = True

    def take(self, amount: int, now_s: float) -> Standing | None:
        """Use what is held; None when it is not enough."""
        if self.left < amount:
            return None
        self.left -= amount
        if not self.policy.per_s:
            self.own.add(amount, now_s)
        return self.standing(now_s)

    def is_used_up(self, amount: int, now_s: float) -> bool:
        """Whether asking for more would be in vain."""
        return now_s < self.refused_until_s and amount >= self.refused_amount

    def standing(self, now_s: float) -> Standing:
        more_at_s = self.more_at_s
        reset_in_s = ceil(more_at_s - now_s) if more_at_s > now_s else 0
        return Standing(self.policy, self.left_over + self.left, reset_in_s)

    def refusal(self, now_s: float) -> RateLimited:
        """Why nothing is left, and when there is more."""
        policy = self.policy
        wait_s = max(ceil(self.more_at_s - now_s), 1)
        allowed = (
            f"{policy.per_s:,} points a second" if policy.per_s else f"{policy.limit:,} an hour"
        )
        error = RateLimited(
            f"the limit of {policy.rate_class} requests is {allowed}", retry_after_s=wait_s
        )
        error.standing = Standing(policy, 0, wait_s)
        return error

    def taking(
        self, amount: int, now_s: float, *, payers: tuple[tuple[str, Policy], ...] = ()
    ) -> Taking:
        """What to ask the database for, so that `amount` can be used; what is owed goes with it.
        Nothing is taken for 0: that only asks where the budget stands."""
        need = max(amount - self.left, 0)
        chunk = self.policy.chunk(self.left_over)
        want = max(need, self.waiting - self.left, chunk) if amount else 0
        return Taking(self.subject, self.policy, need, want, self.pay(now_s), payers)

    def paying(self, now_s: float, *, payers: tuple[tuple[str, Policy], ...] = ()) -> Taking:
        """What the database is only to be told."""
        return Taking(self.subject, self.policy, owed=self.pay(now_s), payers=payers)

    def pay(self, now_s: float) -> int:
        """What the database is to be told now. What was let in so long ago that it counts no more
        is not owed any more."""
        most = self.policy.limit if self.policy.per_s else self.own.used(now_s)
        owed, self.owed = min(self.owed, most), 0
        return owed

    def receive(self, grant: Grant, amount: int, *, now_s: float, is_enough: bool) -> None:
        """Hold what was granted; refuse for a while when it is not what was needed."""
        self.left += grant.granted
        self.left_over = grant.left_over
        self.taken_at_s = now_s
        self._note(amount, grant.wait_s, now_s=now_s, is_enough=is_enough)

    def decide_alone(self, amount: int, now_s: float) -> None:
        """Let in as many as this process would if it was the only one: the database is not
        asked."""
        policy, need = self.policy, max(amount - self.left, 0)
        if policy.per_s:
            if self.own_points is None:
                self.own_points = Allowance(policy.per_s, policy.limit)
            is_allowed = self.own_points.take(now_s, need)
            wait_s = self.own_points.wait_s(now_s, need)
        else:
            is_allowed = self.own.used(now_s) + need <= policy.limit
            wait_s = self.own.wait_s(now_s)
            self.left_over = max(policy.limit - self.own.used(now_s) - need, 0)
        if is_allowed:
            self.left += need
            self.owed += need
        self._note(amount, wait_s, now_s=now_s, is_enough=is_allowed)

    def _note(self, amount: int, wait_s: float, *, now_s: float, is_enough: bool) -> None:
        self.more_at_s = now_s + wait_s
        if not amount:
            return
        if not is_enough:
            self.refused_amount = amount
            self.refused_until_s = now_s + min(max(wait_s, 0.05), ASKED_AGAIN_S)
        else:
            self.refused_until_s = 0.0

    def hand_back(self) -> None:
        """What is held is not wanted now; it is owed to the others."""
        self.owed -= self.left
        self.left_over += self.left
        self.left = 0
