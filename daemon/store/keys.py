"""API keys as stored: only hashes of their secrets.

Who may do what with them is decided in service/keys.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg import Record

from daemon.domain.budgets import Payer
from daemon.domain.errors import Conflict
from daemon.domain.events import NewEvent
from daemon.store import events
from daemon.store.former_callers import FormerCallerStore
from daemon.store.key_networks import KeyNetworkStore, KeyUse
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("keys")
NETWORKS = load("key_networks")
KEYS_MAX = 10_000
EXPIRING_TOLD_MAX = 100
"""So many are told at a time; the others with the next look."""
# Every request waits for this one, so a database that hangs is a 503 soon.
FIND_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that was not revoked; `former_hash` is the secret before the last rotation.

    The signing keys are Ed25519 public keys of 32 bytes, None where requests are not signed.
    """

    key_id: str
    name: str
    env: str
    secret_hash: bytes
    former_hash: bytes | None
    former_valid_until: datetime | None
    scopes: tuple[str, ...]
    tier: str
    devices: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    metrics: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    signing_key: bytes | None = None
    former_signing_key: bytes | None = None
    payers: tuple[str, ...] = ()
    payer_tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is about to be stored."""

    key_id: str
    name: str
    env: str
    secret_hash: bytes
    scopes: Sequence[str]
    tier: str
    devices: Sequence[str] | None
    groups: Sequence[str] | None
    metrics: Sequence[str] | None
    created_by: str
    expires_at: datetime | None
    signing_key: bytes | None = None
    payers: Sequence[Payer] = ()


class KeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.networks = KeyNetworkStore(database)
        self.former_callers = FormerCallerStore(database)

    async def find(self, key_id: str) -> KeyRow | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["key_by_id"], key_id, timeout=FIND_TIMEOUT_S)
        return None if row is None else _key(row)

    async def find_ever(self, key_id: str) -> tuple[KeyRow | None, datetime | None]:
        """As `find`, and, of a key that was revoked, when."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["key_ever"], key_id, timeout=FIND_TIMEOUT_S)
        if row is None:
            return None, None
        values = dict(row)
        revoked_at = values.pop("revoked_at")
        return _key(values), revoked_at

    async def find_many(self, key_ids: Collection[str]) -> list[KeyRow]:
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["keys_by_id"], list(key_ids), timeout=FIND_TIMEOUT_S)
        return [_key(row) for row in rows]

    async def all(self) -> list[KeyRow]:
        """Every key, newest first; there are at most KEYS_MAX."""
        async with self._database.connection("control") as connection:
            return [_key(row) for row in await connection.fetch(SQL["all_keys"], KEYS_MAX)]

    async def expiring(self, now: datetime) -> list[KeyRow]:
        """Keys that end soon, of which nothing was told yet; the first to end first."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["expiring_keys"], now, EXPIRING_TOLD_MAX)
        return [_key(row) for row in rows]

    async def insert(self, key: NewKey, *, told: NewEvent) -> datetime:
        """Store a key and return when. Raises Conflict when there are KEYS_MAX already."""
        async with self._database.transaction("control") as connection:
            await connection.execute(SQL["lock_keys"])
            counts = await connection.fetchrow(SQL["count_keys"])
            assert counts is not None
            if counts["present"] >= KEYS_MAX:
                raise Conflict(f"there are {KEYS_MAX} keys already", code="too_many_keys")
            at = await _insert(connection, key)
            await events.append(connection, told)
        return at

    async def insert_first(self, key: NewKey, *, told: NewEvent) -> bool:
        """Store a key only while there has never been one; False when there was."""
        async with self._database.transaction("control") as connection:
            await connection.execute(SQL["lock_keys"])
            counts = await connection.fetchrow(SQL["count_keys"])
            assert counts is not None
            if counts["ever"]:
                return False
            await _insert(connection, key)
            await events.append(connection, told)
            return True

    async def revoke(self, key_id: str, *, at: datetime, told: NewEvent) -> bool:
        """Accept the key no longer; False when there is none.

        Raises Conflict for the last key that may administer, since nobody could make another.
        """
        async with self._database.transaction("control") as connection:
            await connection.execute(SQL["lock_keys"])
            row = await connection.fetchrow(SQL["lock_key"], key_id)
            if row is None:
                return False
            is_bound = any(row[name] is not None for name in ("devices", "groups", "metrics"))
            is_admin = "admin" in row["scopes"] and not is_bound
            if is_admin and not await connection.fetchval(SQL["has_other_admin"], key_id, at):
                raise Conflict(
                    "this is the last key with the scope admin that sees everything",
                    code="last_admin_key",
                )
            await connection.fetchval(SQL["revoke_key"], key_id)
            await connection.execute(NETWORKS["forget_key"], key_id)
            await events.append(connection, told)
            return True

    async def rotate(
        self,
        key_id: str,
        *,
        secret_hash: bytes,
        signing_key: bytes | None,
        former_valid_until: datetime,
        told: NewEvent,
    ) -> bool:
        """Give the key a new secret, and a new signing key if one is given; False when there is no
        such key."""
        async with self._database.transaction("control") as connection:
            found = await connection.fetchval(
                SQL["rotate_key"], key_id, secret_hash, former_valid_until, signing_key
            )
            if found is None:
                return False
            await events.append(connection, told)
            return True

    async def note_uses(self, uses: Sequence[KeyUse]) -> None:
        """The newest use of each key."""
        noted = _newest(uses)
        async with self._database.connection("control") as connection:
            await connection.execute(
                SQL["note_uses"],
                [use.key_id for use in noted],
                [use.used_at for use in noted],
                [use.used_from for use in noted],
            )


def _newest(uses: Sequence[KeyUse]) -> list[KeyUse]:
    """Of each key the newest: two rows for one key would leave either."""
    found = {use.key_id: use for use in sorted(uses, key=lambda use: use.used_at)}
    return list(found.values())


async def _insert(connection: Connection, key: NewKey) -> datetime:
    at: datetime = await connection.fetchval(
        SQL["insert_key"],
        key.key_id,
        key.name,
        key.env,
        key.secret_hash,
        key.scopes,
        key.tier,
        key.devices,
        key.groups,
        key.metrics,
        key.created_by,
        key.expires_at,
        key.signing_key,
        [payer.subject for payer in key.payers],
        [payer.tier for payer in key.payers],
    )
    return at


def _key(row: Record | dict[str, Any]) -> KeyRow:
    values = dict(row)
    for name in ("scopes", "devices", "groups", "metrics", "payers", "payer_tiers"):
        values[name] = None if values[name] is None else tuple(values[name])
    return KeyRow(**values)
