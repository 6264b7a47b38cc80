"""The ledger of messages, as people read it and send from it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Record

from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("notifications")


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """None means all; `status` is a status or a verdict. The last three hold what may be seen."""

    channel: str | None = None
    status: str | None = None
    alert_id: str | None = None
    kind: str | None = None
    metric_likes: Sequence[str] | None = None
    device_likes: Sequence[str] | None = None
    seen_ids: Sequence[str] | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in LedgerFilter.__slots__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send; `outcome` is sent, failed, or unknown."""

    attempt: int
    at: datetime
    latency_ms: float | None
    outcome: str
    status_code: int | None
    response_digest: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message and what became of it; `verdict_data` says until when, by which silence and the
    like."""

    notification_id: str
    alert_id: str | None
    watch_id: str | None
    rule_id: str | None
    device_id: str | None
    metric_name: str | None
    level: str | None
    channel: str
    kind: str
    status: str
    verdict: str | None
    verdict_data: dict[str, Any]
    digest_id: str | None
    replaces_id: str | None
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None
    ledger: list[Attempt] = field(default_factory=list)


class LedgerStore:
    """Statements on the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: LedgerFilter, *, limit: int, offset: int
    ) -> tuple[list[Entry], int]:
        """A page with its attempts, the newest first, and how many there are."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_notifications"], *wanted.values, limit, offset)
            total = await connection.fetchval(SQL["count_notifications"], *wanted.values)
            return await _with_attempts(connection, rows), total

    async def find(self, notification_id: str) -> Entry | None:
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["find_notification"], notification_id)
            found = await _with_attempts(connection, rows)
        return found[0] if found else None

    async def of_alert(self, alert_id: str) -> list[Entry]:
        """All messages about an alert, in order: whom it was told, and why others were not."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["of_alert"], alert_id)
            return await _with_attempts(connection, rows)

    async def retry(self, notification_id: str, *, by: str) -> bool:
        """Send again what was given up, at once what waits; False when it is neither."""
        async with self._database.transaction("control") as connection:
            if await connection.fetchval(SQL["retry"], notification_id, by) is None:
                return False
            await connection.execute(SQL["regroup"], notification_id)
            await connection.execute(SQL["revive_closings"], notification_id)
            return True


async def _with_attempts(connection: Connection, rows: Sequence[Record]) -> list[Entry]:
    ids = [row["notification_id"] for row in rows]
    attempts: dict[str, list[Attempt]] = {}
    for row in await connection.fetch(SQL["attempts"], ids) if ids else ():
        values = [row[name] for name in Attempt.__slots__]
        attempts.setdefault(row["notification_id"], []).append(Attempt(*values))
    return [_entry(row, attempts.get(row["notification_id"], [])) for row in rows]


def _entry(row: Record, ledger: list[Attempt]) -> Entry:
    values = {name: row[name] for name in Entry.__slots__ if name != "ledger"}
    values["verdict_data"] = orjson.loads(values["verdict_data"])
    return Entry(**values, ledger=ledger)
