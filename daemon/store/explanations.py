"""What is kept about why alerts came, or did not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("explanations")
ALERTS_SQL = load("alerts")


@dataclass(frozen=True, slots=True)
class StoredStep:
    """One change of an alert with what decided it."""

    at: datetime
    event_time: datetime | None
    to: str
    reason: str
    inputs: dict[str, Any]
    by: str | None


@dataclass(frozen=True, slots=True)
class LateCount:
    """Samples of a device that came too late for a rule."""

    samples: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class LastAlert:
    """The newest alert of a rule on a device before some time, by event time."""

    alert_id: str
    event_time: datetime
    last_breach: datetime
    ended_at: datetime | None
    by_silence: bool


class ExplanationStore:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def steps(self, alert_id: str) -> list[StoredStep]:
        """All that became of an alert, in order."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(ALERTS_SQL["steps"], alert_id)
        return [
            StoredStep(
                row["at"],
                row["event_time"],
                row["to"],
                row["reason"],
                orjson.loads(row["inputs"]),
                row["by"],
            )
            for row in rows
        ]

    async def late(self, rule_id: str, *, device_id: str) -> LateCount | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["late_of"], rule_id, device_id)
        return None if row is None else LateCount(*row.values())

    async def last_alert(self, rule_id: str, *, device_id: str, at: datetime) -> LastAlert | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["last_alert"], rule_id, device_id, at)
        return None if row is None else LastAlert(*row.values())

    async def wide_open(self, rule_id: str, *, at: datetime) -> list[tuple[str, str, str | None]]:
        """(alert id, scope, group id) of alerts of the rule that stood for many devices then."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["wide_open"], rule_id, at)
        return [tuple(row.values()) for row in rows]

    async def appended_at(self, seq: int) -> datetime | None:
        """When a block was committed; None when it is not kept any more."""
        async with self._database.connection("query") as connection:
            found: datetime | None = await connection.fetchval(SQL["appended_at"], seq)
        return found
