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
    before, or gives back when negative."""

    subject: str
    policy: Policy
    need: int = 0
    want: int = 0
    owed: int = 0


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
        for taking in sorted(takings, key=_name):
            query, *arguments = _call(taking)
            calls.setdefault(query, []).append(tuple(arguments))
        async with self._database.transaction("control") as connection:
            # Always in this order, so that no two processes wait for each other.
            for query in sorted(calls):
                await connection.executemany(query, calls[query])


def _name(taking: Taking) -> tuple[str, str]:
    return taking.subject, taking.policy.rate_class.value


def _call(taking: Taking) -> tuple[str, *tuple[object, ...]]:
    policy = taking.policy
    name = _name(taking)
    if not policy.per_s:
        return (SQL["take_requests"], *name, taking.want, policy.limit, taking.owed)
    amounts = (taking.need, taking.want, float(policy.per_s), float(policy.limit), taking.owed)
    return (SQL["take_points"], *name, *amounts)
