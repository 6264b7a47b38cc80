"""Budgets as stored: one row for each subject and class, for all daemons together.

Time is the database's. What a process does with what it took is decided in service/limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.domain.budgets import Policy
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("limits")


@dataclass(frozen=True, slots=True)
class Grant:
    """What was taken, what is left for all, and seconds until there is more."""

    granted: int
    left_over: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Taking:
    """What one process asks for: `need` at least of points, `want` at most; `owed` it let in
    before, or gives back when negative. `payers` are the budgets, by subject, that it is taken
    from as well."""

    subject: str
    policy: Policy
    need: int = 0
    want: int = 0
    owed: int = 0
    payers: tuple[tuple[str, Policy], ...] = ()


class LimitStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, taking: Taking) -> Grant:
        """Raises StoreUnavailable, OutcomeUnknown."""
        async with self._database.connection("control", writing=True) as connection:
            row = await connection.fetchrow(*_call(taking))
        assert row is not None
        return Grant(row["granted"], row["left_over"], row["wait_s"])

    async def settle(self, takings: Sequence[Taking]) -> None:
        """Take many, all or none, of which nobody wants to know. Raises as `take`."""
        calls: dict[str, list[tuple[object, ...]]] = {}
        # Always in this order, so that no two processes wait for each other: payers come first in
        # their own subjects, too.
        for taking in sorted(takings, key=_place):
            query, *arguments = _call(taking)
            calls.setdefault(query, []).append(tuple(arguments))
        async with self._database.transaction("control") as connection:
            for query in sorted(calls):
                await connection.executemany(query, calls[query])


def _place(taking: Taking) -> tuple[str, list[str]]:
    return taking.policy.rate_class.value, [subject for subject, _ in _budgets(taking)]


def _budgets(taking: Taking) -> list[tuple[str, Policy]]:
    return [*taking.payers, (taking.subject, taking.policy)]


def _call(taking: Taking) -> tuple[str, *tuple[object, ...]]:
    budgets = _budgets(taking)
    limits = [policy.limit for _, policy in budgets]
    name = ([subject for subject, _ in budgets], taking.policy.rate_class.value)
    if not taking.policy.per_s:
        return (SQL["take_requests"], *name, taking.want, limits, taking.owed)
    per_s = [policy.per_s for _, policy in budgets]
    return (SQL["take_points"], *name, taking.need, taking.want, per_s, limits, taking.owed)
