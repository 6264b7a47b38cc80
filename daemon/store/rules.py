"""Alert rules as stored. Every change raises their version, which the evaluator compares, and ends
the alerts that it leaves without a cause, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.alert_record import Alert
from daemon.domain.errors import Conflict, Invalid
from daemon.domain.events import NewEvent
from daemon.domain.rule_request import AlertRule, Ending
from daemon.store import alerts, events
from daemon.store.alerts import Act
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("rules")
RULES_MAX = 10_000
"""The evaluator holds all of them in memory; a further one is refused."""
_JSON_FIELDS = ("threshold_value", "from_value", "to_value", "quiet_hours", "tags")
_KEPT = {"total_triggers", "last_triggered", "created_at", "updated_at", "created_by"}
_WRITTEN = tuple(name for name in AlertRule.__slots__ if name not in _KEPT)
"""The parameters of both statements that write a rule, in order."""


@dataclass(frozen=True, slots=True)
class RuleFilter:
    """None means all; `likes` are LIKE patterns of the metrics that may be seen."""

    enabled: bool | None = None
    level: str | None = None
    metric_name: str | None = None
    name: str | None = None
    likes: Sequence[str] | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in RuleFilter.__slots__)


@dataclass(frozen=True, slots=True)
class Edit:
    """How a rule is changed: to what, which of its open alerts that ends, and how it is told.

    `act` says who does it and when; its reason is that of the ending.
    """

    change: Callable[[AlertRule], AlertRule]
    ending: Callable[[AlertRule, AlertRule], Ending | None]
    act: Act
    tell: Callable[[AlertRule, AlertRule], NewEvent]
    tell_ended: Callable[[Alert], NewEvent]


@dataclass(frozen=True, slots=True)
class Twin:
    """Another rule that decides the same, and whom it watches."""

    rule_id: str
    name: str
    device_ids: list[str]
    device_groups: list[str]


class RuleStore:
    """Changes come one after the other, by the row of their version; what raises undoes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading ---------------------------------------------------------------------------------

    async def page(
        self, wanted: RuleFilter, *, limit: int, offset: int
    ) -> tuple[list[AlertRule], int]:
        """A page by name, and how many there are in all."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_rules"], *wanted.values, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_rules"], *wanted.values, 1, 0)
                return [], first["total"] if first else 0
        return [rule_of(row) for row in rows], rows[0]["total"] if rows else 0

    async def find(self, rule_id: str) -> AlertRule | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_rule"], rule_id)
        return None if row is None else rule_of(row)

    async def count(self) -> dict[str, int]:
        """How many rules there are, are enabled, and are enabled shadows."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["count_rules"])
        assert row is not None
        return dict(row)

    async def twins(self, rule: AlertRule) -> list[Twin]:
        """Other rules that decide the same, whomever they watch."""
        asked = (rule.metric_name, rule.condition_key, rule.rule_id)
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["twins"], *asked)
        return [Twin(*row.values()) for row in rows]

    async def channels(self, names: Sequence[str]) -> dict[str, bool]:
        """Which of these channels there are, and whether they fail just now."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["channels"], names)
        return {row["name"]: row["is_failing"] for row in rows}

    async def cadence_s(self, series_ids: Sequence[int]) -> float | None:
        """The usual seconds between samples by history; None when there is none."""
        async with self._database.connection("query") as connection:
            found: float | None = await connection.fetchval(SQL["cadence"], series_ids)
        return found

    async def triggers(
        self,
        rule_ids: Sequence[str],
        *,
        device_likes: Sequence[str] | None,
        seen_ids: Sequence[str] | None,
    ) -> dict[str, tuple[int, datetime]]:
        """How often rules fired on what may be seen, and when last; those that never did are
        absent."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["triggers"], rule_ids, device_likes, seen_ids)
        return {row["rule_id"]: (row["triggers"], row["last_triggered"]) for row in rows}

    async def count_ending(
        self,
        rule_id: str,
        ending: Ending | None,
        *,
        device_likes: Sequence[str] | None = None,
        seen_ids: Sequence[str] | None = None,
    ) -> int:
        """How many open alerts of the rule would end so; `device_likes` or `seen_ids`, where there
        are any, hold what may be seen."""
        if ending is None:
            return 0
        staying = None if ending.staying is None else sorted(ending.staying)
        async with self._database.connection("control") as connection:
            found: int = await connection.fetchval(
                SQL["count_ending"], rule_id, staying, device_likes, seen_ids
            )
        return found

    # -- changing --------------------------------------------------------------------------------

    async def insert(
        self, rule: AlertRule, *, tell: Callable[[AlertRule], NewEvent]
    ) -> AlertRule | None:
        """Store a rule; None when the name is taken. Raises Invalid for one too many."""
        async with self._database.transaction("control") as connection:
            await connection.fetchval(SQL["next_version"])
            counts = await connection.fetchrow(SQL["count_rules"])
            assert counts is not None
            if counts["rules"] >= RULES_MAX:
                raise Invalid(f"there are {RULES_MAX} rules already", code="too_many_rules")
            row = await connection.fetchrow(SQL["insert_rule"], *_values(rule), rule.created_by)
            if row is None:
                return None
            rule = replace(rule, created_at=row["created_at"], updated_at=row["updated_at"])
            await connection.execute(SQL["mark_rule"], rule.rule_id)
            await events.append(connection, tell(rule))
        return rule

    async def change(self, rule_id: str, edit: Edit) -> tuple[AlertRule, list[Alert]] | None:
        """Change a rule and end what it leaves without a cause; None when it is unknown.

        Raises Conflict `name_taken`, and what `edit.change` raises.
        """
        async with self._database.transaction("control") as connection:
            await connection.fetchval(SQL["next_version"])
            row = await connection.fetchrow(SQL["find_rule"], rule_id)
            if row is None:
                return None
            before = rule_of(row)
            after = edit.change(before)
            namesake = await connection.fetchval(SQL["named_rule"], after.name)
            if namesake not in (None, rule_id):
                raise Conflict(f"there is a rule {after.name} already", code="name_taken")
            updated_at = await connection.fetchval(SQL["update_rule"], *_values(after))
            after = replace(after, updated_at=updated_at)
            ended = await _end(connection, rule_id, edit.ending(before, after), edit.act)
            if _begins_anew(before, after):
                await connection.execute(SQL["mark_rule"], rule_id)
            await events.append(connection, edit.tell(before, after))
            await alerts.tell_of(connection, ended, edit.tell_ended)
        return after, ended

    async def delete(self, rule_id: str, edit: Edit) -> list[Alert] | None:
        """Remove a rule and end its alerts; None when it is unknown.

        `edit.change` may refuse; the rest of it ends and tells.
        """
        async with self._database.transaction("control") as connection:
            await connection.fetchval(SQL["next_version"])
            row = await connection.fetchrow(SQL["find_rule"], rule_id)
            if row is None:
                return None
            rule = edit.change(rule_of(row))
            ended = await _end(connection, rule_id, edit.ending(rule, rule), edit.act)
            await connection.fetchval(SQL["delete_rule"], rule_id)
            await alerts.tell_of(connection, ended, edit.tell_ended)
            await events.append(connection, edit.tell(rule, rule))
        return ended


def _begins_anew(before: AlertRule, after: AlertRule) -> bool:
    """Whether what was committed before the change is none of its business."""
    is_enabled = after.enabled and not before.enabled
    return is_enabled or after.condition_key != before.condition_key


async def _end(
    connection: Connection, rule_id: str, ending: Ending | None, act: Act
) -> list[Alert]:
    if ending is None:
        return []
    staying = None if ending.staying is None else sorted(ending.staying)
    act = replace(act, reason=ending.reason)
    return await alerts.end(connection, act, rule_id=rule_id, but_devices=staying)


def _values(rule: AlertRule) -> list[Any]:
    return [
        _json(getattr(rule, name)) if name in _JSON_FIELDS else getattr(rule, name)
        for name in _WRITTEN
    ]


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def rule_of(row: Record | Mapping[str, Any]) -> AlertRule:
    """The rule of a row that has its columns by name."""
    values = {name: row[name] for name in AlertRule.__slots__}
    for name in _JSON_FIELDS:
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return AlertRule(**values)
