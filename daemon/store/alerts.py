"""Alerts as stored: reading them, and what people and changes of rules do to them. Those that come
and go by themselves are written by store/evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.alert_record import Alert
from daemon.domain.events import NewEvent
from daemon.store import events, messages
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("alerts")
Tell = Callable[[Alert], NewEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """None means all. Times are of `triggered_at`, half-open.

    `metric_likes`, and `device_likes` or `seen_ids` where there are any, hold what may be seen.
    """

    statuses: Sequence[str] | None = None
    levels: Sequence[str] | None = None
    device_id: str | None = None
    rule_id: str | None = None
    metric_name: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    is_shadow: bool | None = None
    metric_likes: Sequence[str] | None = None
    device_likes: Sequence[str] | None = None
    seen_ids: Sequence[str] | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in AlertFilter.__slots__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many alerts fit a filter, and how many of them are active, and critical or worse."""

    total: int
    active: int
    critical: int


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something to an alert, when, why, and what they say."""

    by: str
    at: datetime
    reason: str
    note: str | None = None


class AlertStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: AlertFilter, *, limit: int, offset: int
    ) -> tuple[list[Alert], Counts]:
        """A page, the newest first, and the counts of one moment."""
        async with (
            self._database.connection("control") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = await connection.fetch(SQL["list_alerts"], *wanted.values, limit, offset)
            counts = await connection.fetchrow(SQL["count_alerts"], *wanted.values)
        assert counts is not None
        return [alert_of(row) for row in rows], Counts(*counts.values())

    async def find(self, alert_id: str) -> Alert | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_alert"], alert_id)
        return None if row is None else alert_of(row)

    async def count_open(self) -> tuple[dict[tuple[str, str], int], int]:
        """Open alerts that are not shadows by level and status, and how many of them are stale."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["count_open"])
        counted = {(row["level"], row["status"]): row["alerts"] for row in rows}
        return counted, sum(row["stale"] for row in rows)

    async def acknowledge(self, alert_id: str, act: Act, *, tell: Tell) -> Alert | None:
        """From active to acknowledged; None when it is not active, or unknown."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["acknowledge"], alert_id, act.by, act.at, act.note)
            if row is None:
                return None
            alert = alert_of(row)
            await _write_step(connection, [alert_id], to="acknowledged", act=act)
            await tell_of(connection, [alert], tell)
        return alert

    async def resolve(self, alert_id: str, act: Act, *, tell: Tell) -> Alert | None:
        """End an open alert; None when it is resolved already, or unknown."""
        async with self._database.transaction("control") as connection:
            await begin_ending(connection)
            ended = await end(connection, act, alert_id=alert_id)
            await tell_of(connection, ended, tell)
        return ended[0] if ended else None


async def begin_ending(connection: Connection) -> None:
    """Before `end`, unless the rules' version is raised: whatever the evaluator judged before this
    commit is not written after it."""
    await connection.fetchval(SQL["next_closing"])


async def end(
    connection: Connection,
    act: Act,
    *,
    alert_id: str | None = None,
    rule_id: str | None = None,
    device_id: str | None = None,
    but_devices: Sequence[str] | None = None,
) -> list[Alert]:
    """End the open alerts that fit all that is given, with their steps and closing messages; the
    caller tells the events of them last. Every alert that the evaluator does not end, ends here."""
    rows = await connection.fetch(
        SQL["end_alerts"],
        *(alert_id, rule_id, device_id, but_devices),
        *(act.by, act.at, act.reason, act.note),
    )
    ended = sorted((alert_of(row) for row in rows), key=lambda alert: alert.alert_id)
    if ended:
        ids = [alert.alert_id for alert in ended]
        await _write_step(connection, ids, to="resolved", act=act)
        await messages.tell_closed(connection, ids)
    return ended


async def tell_of(connection: Connection, changed: Sequence[Alert], tell: Tell) -> None:
    """The events of these alerts, the last of a transaction; those of shadow rules tell no one."""
    for alert in changed:
        if not alert.is_shadow:
            await events.append(connection, tell(alert))


async def forget_device(connection: Connection, device_id: str, act: Act) -> list[Alert]:
    """What a deleted device leaves behind: its open alerts end, and nobody waits for it."""
    await begin_ending(connection)
    await connection.execute(SQL["forget_watches"], device_id)
    await connection.execute(SQL["forget_late_samples"], device_id)
    return await end(connection, act, device_id=device_id)


async def _write_step(
    connection: Connection, alert_ids: Sequence[str], *, to: str, act: Act
) -> None:
    inputs = orjson.dumps({} if act.note is None else {"note": act.note}).decode()
    await connection.execute(SQL["add_steps"], alert_ids, act.at, to, act.reason, inputs, act.by)


def alert_of(row: Record) -> Alert:
    """The alert of a row that has its columns by name."""
    values = {name: row[name] for name in Alert.__slots__}
    for name in ("value", "threshold_value"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Alert(**values)
