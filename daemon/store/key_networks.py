"""Networks that keys were used from, as stored. Which network an address is of is decided in
domain/key_networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from daemon.domain.events import NewEvent
from daemon.domain.key_networks import NETWORKS_MAX, TOLD_A_DAY_MAX
from daemon.store import events
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("key_networks")
KEYS = load("keys")


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A use of a key at a moment, from an address of that network, if it is of one."""

    key_id: str
    used_at: datetime
    used_from: str
    network: str | None = None


@dataclass(frozen=True, slots=True)
class KeyNetwork:
    """A network that a key was used from, and since when."""

    network: str
    first_used_at: datetime
    last_used_at: datetime


class Tell(Protocol):
    """What is told of a new network; `is_last`: of further ones nothing is told for a day."""

    def __call__(self, name: str, *, is_last: bool) -> NewEvent: ...


class KeyNetworkStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_key(self, key_id: str) -> list[KeyNetwork]:
        """The last used first; there are at most NETWORKS_MAX."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["networks_of_key"], key_id)
        return [KeyNetwork(*row.values()) for row in rows]

    async def note(self, uses: Sequence[KeyUse]) -> list[KeyUse]:
        """Note uses from known networks, and return the others: one of each network."""
        newest = {
            (use.key_id, use.network): use
            for use in sorted(uses, key=lambda use: use.used_at)
            if use.network is not None
        }
        async with self._database.transaction("control") as connection:
            rows = await connection.fetch(
                SQL["note_networks"],
                [key_id for key_id, _ in newest],
                [network for _, network in newest],
                [use.used_at for use in newest.values()],
            )
        known = {(row["key_id"], row["network"]) for row in rows}
        return [use for of, use in newest.items() if of not in known]

    async def add(self, use: KeyUse, *, tell: Tell) -> bool:
        """Remember one more network of a key and tell of it; False when it was not to be told: the
        first one of a key, or one of too many, or when another daemon was first."""
        async with self._database.transaction("control") as connection:
            key = await connection.fetchrow(KEYS["lock_key"], use.key_id)
            if key is None:
                return False
            counts = await connection.fetchrow(SQL["count_networks"], use.key_id, use.used_at)
            assert counts is not None
            added = await connection.fetchval(
                SQL["add_network"], use.key_id, use.network, use.used_at
            )
            if added is None:
                return False
            await connection.execute(SQL["forget_networks"], use.key_id, NETWORKS_MAX)
            if counts["present"] == 0 or counts["of_day"] >= TOLD_A_DAY_MAX:
                return False
            is_last = counts["of_day"] == TOLD_A_DAY_MAX - 1
            return await events.append(connection, tell(key["name"], is_last=is_last)) is not None
