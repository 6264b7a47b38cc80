"""Subscriptions as stored: what each asks for, whose it is, and until when it lives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("subscriptions")
TELLS = "telemetry_subscription"
"""The channel of the NOTIFY that says a subscription was removed."""


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """`wanted` is what the client asked for, as JSON objects."""

    subscription_id: str
    key_id: str
    wanted: dict[str, Any]
    created_at: datetime


class SubscriptionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, row: SubscriptionRow, *, life_s: float, at_most: int) -> bool:
        """Store it; False when its key has `at_most` already."""
        async with self._database.transaction("control") as connection:
            made = await connection.fetchval(
                SQL["insert_subscription"],
                row.subscription_id,
                row.key_id,
                orjson.dumps(row.wanted).decode(),
                life_s,
                at_most,
            )
        return made is not None

    async def find(self, subscription_id: str) -> SubscriptionRow | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["subscription_by_id"], subscription_id)
        if row is None:
            return None
        return SubscriptionRow(
            row["subscription_id"], row["key_id"], orjson.loads(row["wanted"]), row["created_at"]
        )

    async def hold(self, subscription_ids: Collection[str], *, life_s: float) -> set[str]:
        """Move their end to `life_s` from now; returns those that there are."""
        async with self._database.transaction("control") as connection:
            rows = await connection.fetch(SQL["hold_subscriptions"], list(subscription_ids), life_s)
        return {row["subscription_id"] for row in rows}

    async def present(self, subscription_ids: Collection[str]) -> set[str]:
        """Those of them that there are."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["present_subscriptions"], list(subscription_ids))
        return {row["subscription_id"] for row in rows}

    async def delete(self, subscription_id: str) -> bool:
        """Remove it and tell every process; False when there is none."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["delete_subscription"], subscription_id)
        return row is not None
