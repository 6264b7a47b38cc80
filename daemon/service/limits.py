"""How much each key and address may do: budgets that all daemons of a database share.

A process takes some of a budget at a time from the database and uses that up on its own. While the
database is away, or is asked too much about addresses, each process decides by what it let in
itself. What the budgets are is in domain/budgets.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.allowance import Allowance
from daemon.domain.budgets import (
    NOBODY,
    UNLIMITED,
    Payer,
    Policies,
    Policy,
    RateClass,
    Standing,
    TierNumbers,
    policies_of,
)
from daemon.domain.clients import Networks, is_within, network_of
from daemon.domain.errors import RateLimited, TryLater
from daemon.domain.occasions import Seldom
from daemon.log import get_logger
from daemon.service.budget import Budget
from daemon.store.limits import LimitStore, Taking

ENTRIES_MAX = 10_000
"""Budgets that are remembered, of keys and of addresses each; the longest unused is forgotten."""
ADDRESSES_ASKED_PER_S = 25
"""The database is asked about addresses no more often; beyond that each process counts alone."""
ASK_TIMEOUT_S = 1.0
AWAY_S = 5.0
"""A database that gave no answer is not asked for so long."""
SETTLE_EVERY_S = 2.0
IDLE_S = 5.0
"""What a process took and did not use for so long, it gives back."""
SETTLED_AT_ONCE_MAX = 500
LEAST_TIER = "free"
LOGGED_EVERY_S = 60.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Numbers by tier, and of an address: requests an hour without a credential, and with ones that
    are refused. 0 is no limit."""

    tiers: Mapping[str, TierNumbers] = field(default_factory=dict)
    anonymous_per_hour: int = 0
    refused_per_hour: int = 0
    exempt: Networks = ()


class Limits:
    """One for each process. What is over its limit raises RateLimited with the standing."""

    def __init__(
        self, store: LimitStore, *, clock: Clock, settings: LimitSettings | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._keys: OrderedDict[tuple[str, RateClass], Budget] = OrderedDict()
        self._addresses: OrderedDict[tuple[str, RateClass], Budget] = OrderedDict()
        self._unsettled: set[Budget] = set()
        self._asks = Allowance(ADDRESSES_ASKED_PER_S, ADDRESSES_ASKED_PER_S)
        self._away_until_s = 0.0
        self._seldom = Seldom(every_s=LOGGED_EVERY_S, entries_max=ENTRIES_MAX // 10)
        self.refused: Counter[tuple[str, str]] = Counter()
        self._policies: Policies = {}
        self.configure(settings or LimitSettings())

    def __len__(self) -> int:
        return len(self._keys) + len(self._addresses)

    def configure(self, settings: LimitSettings) -> None:
        """From now on these numbers hold."""
        self.settings = settings
        self._policies = policies_of(settings.tiers)
        self._anonymous = Policy(RateClass.ANONYMOUS, NOBODY, settings.anonymous_per_hour)
        self._is_within = lru_cache(maxsize=ENTRIES_MAX)(
            partial(is_within, networks=settings.exempt)
        )
        self._wrong = Policy(RateClass.REFUSED, NOBODY, settings.refused_per_hour)
        for budget in self._keys.values():
            budget.is_held = False

    def is_exempt(self, address: str) -> bool:
        """Whether nobody at this address is limited."""
        return bool(self.settings.exempt) and self._is_within(address)

    def take_now(
        self, principal: Principal, rate_class: RateClass, *, address: str, amount: int = 1
    ) -> Standing | None:
        """As `take`, of what is held; None where the database has to be asked, or nothing is
        left."""
        budget = self.held_by(principal, rate_class, address=address)
        return UNLIMITED if budget is None else budget.take(amount, self._clock.monotonic_s())

    def held_by(
        self, principal: Principal, rate_class: RateClass, *, address: str
    ) -> Budget | None:
        """What requests of a key from there are counted in, None when they are not limited. Who
        comes again and again may keep it as long as it `is_held`."""
        policy = self._policy(principal.tier, rate_class)
        if policy is None or self.is_exempt(address):
            return None
        return self._budget(self._keys, principal.key_id, policy, payers=principal.payers)

    async def take(
        self, principal: Principal, rate_class: RateClass, *, address: str, amount: int = 1
    ) -> Standing:
        """Count a request of a key, or `amount` points, and say what is left."""
        budget = self.held_by(principal, rate_class, address=address)
        return UNLIMITED if budget is None else await self._take(budget, amount)

    async def take_some(
        self, principal: Principal, rate_class: RateClass, *, address: str, amount: int
    ) -> int:
        """Count as many of `amount` as there is room for, and say how many."""
        budget = self.held_by(principal, rate_class, address=address)
        if budget is None:
            return amount
        try:
            await self._take(budget, amount)
        except RateLimited:
            # What the database had left is held now.
            amount = min(budget.left, amount)
            budget.take(amount, self._clock.monotonic_s())
        return amount

    async def take_of_address(self, address: str) -> Standing:
        """Count a request without a credential."""
        if not self.settings.anonymous_per_hour or self.is_exempt(address):
            return UNLIMITED
        subject = f"address {network_of(address)}"
        return await self._take(self._budget(self._addresses, subject, self._anonymous), 1)

    async def refuse_credential(self, address: str) -> Standing:
        """Count a credential that was refused; each process does so alone, so that wrong ones
        cost nothing more."""
        if not self.settings.refused_per_hour or self.is_exempt(address):
            return UNLIMITED
        subject = f"address {network_of(address)}"
        budget = self._budget(self._addresses, subject, self._wrong)
        return await self._take(budget, 1)

    async def standings(self, principal: Principal, *, address: str) -> list[Standing]:
        """Where a key stands in each of its budgets; nothing of what is not limited."""
        found = []
        for rate_class in RateClass:
            budget = self.held_by(principal, rate_class, address=address)
            if budget is not None:
                if not budget.left:
                    await self._replenish(budget, 0)
                found.append(budget.standing(self._clock.monotonic_s()))
        return found

    def give_back(
        self, principal: Principal, rate_class: RateClass, *, address: str, amount: int = 1
    ) -> None:
        """What was counted last will be counted again, or did not happen."""
        if self.is_exempt(address):
            return
        budget = self._keys.get((principal.key_id, rate_class))
        if budget is not None:
            budget.left += amount
            self._unsettled.add(budget)

    def _policy(self, tier: str, rate_class: RateClass) -> Policy | None:
        """What holds for the tier; one that nobody knows is the least of them, not the best."""
        policy = self._policies.get((tier, rate_class))
        if policy is None and tier not in self.settings.tiers:
            policy = self._policies.get((LEAST_TIER, rate_class))
        return policy

    # -- budgets -----------------------------------------------------------------------------

    def _paying(self, budget: Budget) -> tuple[tuple[str, Policy], ...]:
        """The budgets that what this one takes from the database is taken from as well."""
        rate_class = budget.policy.rate_class
        found = [(payer.subject, self._policy(payer.tier, rate_class)) for payer in budget.payers]
        return tuple((subject, policy) for subject, policy in found if policy is not None)

    def _budget(
        self,
        budgets: OrderedDict[tuple[str, RateClass], Budget],
        subject: str,
        policy: Policy,
        *,
        payers: tuple[Payer, ...] = (),
    ) -> Budget:
        name = (subject, policy.rate_class)
        budget = budgets.get(name)
        if budget is None or (budget.policy is not policy and budget.policy != policy):
            if budget is not None:
                budget.is_held = False
            budget = Budget(subject, policy, left_over=policy.limit, payers=payers)
            budgets[name] = budget
            if len(budgets) > ENTRIES_MAX:
                _, forgotten = budgets.popitem(last=False)
                self._unsettled.discard(forgotten)
                forgotten.is_held = False
        budget.is_held = True
        budgets.move_to_end(name)
        return budget

    async def _take(self, budget: Budget, amount: int) -> Standing:
        standing = budget.take(amount, self._clock.monotonic_s())
        if standing is None:
            standing = await self._take_more(budget, amount)
        if standing is None:
            error = budget.refusal(self._clock.monotonic_s())
            self._note(budget, error)
            raise error
        return standing

    async def _take_more(self, budget: Budget, amount: int) -> Standing | None:
        """Take with what the database gives; one asks for all that wait."""
        if budget.turn is None:
            budget.turn = asyncio.Lock()
        budget.waiting += amount
        try:
            async with budget.turn:
                now_s = self._clock.monotonic_s()
                standing = budget.take(amount, now_s)
                # Who takes what is held does not wait here: it may be gone when more comes.
                while standing is None and not budget.is_used_up(amount, now_s):
                    await self._replenish(budget, amount)
                    now_s = self._clock.monotonic_s()
                    standing = budget.take(amount, now_s)
                return standing
        finally:
            budget.waiting -= amount
            if not budget.waiting:
                budget.turn = None

    def _may_ask(self, policy: Policy, now_s: float) -> bool:
        match policy.rate_class:
            case RateClass.REFUSED:
                return False
            case RateClass.ANONYMOUS:
                return now_s >= self._away_until_s and self._asks.take(now_s)
            case _:
                return now_s >= self._away_until_s

    async def _replenish(self, budget: Budget, amount: int) -> None:
        """Take more from the database; decide alone when it can't be asked."""
        now_s = self._clock.monotonic_s()
        if not self._may_ask(budget.policy, now_s):
            budget.decide_alone(amount, now_s)
            if budget.policy.rate_class is RateClass.REFUSED:
                budget.owed = 0
            else:
                self._unsettled.add(budget)
            return
        self._unsettled.add(budget)
        taking = budget.taking(amount, now_s, payers=self._paying(budget))
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                grant = await self._store.take(taking)
        except (TryLater, TimeoutError) as error:
            budget.owed += taking.owed
            self._away(error)
            budget.decide_alone(amount, self._clock.monotonic_s())
        except BaseException:
            budget.owed += taking.owed
            raise
        else:
            is_enough = grant.granted >= taking.need
            now_s = self._clock.monotonic_s()
            budget.receive(grant, amount, now_s=now_s, is_enough=is_enough)

    def _away(self, error: Exception) -> None:
        now_s = self._clock.monotonic_s()
        self._away_until_s = now_s + AWAY_S
        self._say("database", "limits_counted_alone", reason=type(error).__name__)

    async def settle(self, *, is_last: bool = False) -> None:
        """Give back what is not used, and say what was let in alone; a background turn.

        Raises StoreUnavailable, OutcomeUnknown; the next turn tries again.
        """
        now_s = self._clock.monotonic_s()
        due: list[tuple[Budget, Taking]] = []
        for budget in list(self._unsettled):
            if budget.turn is not None or (len(due) >= SETTLED_AT_ONCE_MAX and not is_last):
                continue
            if is_last or now_s - budget.taken_at_s >= IDLE_S:
                budget.hand_back()
            if budget.owed and self._may_ask(budget.policy, now_s):
                due.append((budget, budget.paying(now_s, payers=self._paying(budget))))
            if not (budget.left or budget.owed):
                self._unsettled.discard(budget)
        if not due:
            return
        try:
            await self._store.settle([taking for _, taking in due])
        except BaseException:
            for budget, taking in due:
                budget.owed += taking.owed
                self._unsettled.add(budget)
            raise

    # -- what is said of it ------------------------------------------------------------------

    def _note(self, budget: Budget, error: RateLimited) -> None:
        policy = budget.policy
        self.refused[policy.rate_class.value, policy.tier] += 1
        self._say(
            f"{budget.subject} {policy.rate_class}",
            "rate_limited",
            subject=budget.subject,
            rate_class=policy.rate_class.value,
            tier=policy.tier,
            retry_after_s=error.retry_after_s,
        )

    def _say(self, what: str, event: str, **fields: object) -> None:
        """Log it, each thing once a minute."""
        if self._seldom.is_due(what, self._clock.monotonic_s()):
            log.warning(event, **fields, refused=sum(self.refused.values()))
