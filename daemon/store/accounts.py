"""Accounts of people as stored: only hashes of their passwords."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from daemon.domain.errors import Conflict
from daemon.domain.events import NewEvent
from daemon.store import events
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("accounts")
SESSIONS = load("sessions")
ACCOUNTS_MAX = 1_000
FIND_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; `password_hash` is argon2id's text."""

    account_id: str
    username: str
    password_hash: str
    scopes: tuple[str, ...]
    tier: str
    devices: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    metrics: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    last_login_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that is about to be stored."""

    account_id: str
    username: str
    password_hash: str
    scopes: Sequence[str]
    tier: str
    devices: Sequence[str] | None
    groups: Sequence[str] | None
    metrics: Sequence[str] | None
    created_by: str


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What of an account is changed; None stays. `ends_because`: why its sessions end, if so."""

    password_hash: str | None = None
    is_disabled: bool | None = None
    ends_because: str | None = None


class AccountStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, username: str) -> AccountRow | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(
                SQL["account_by_name"], username, timeout=FIND_TIMEOUT_S
            )
        return None if row is None else _account(row)

    async def find_active(self, account_ids: Collection[str]) -> list[AccountRow]:
        """Those that exist and are not disabled."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(
                SQL["accounts_by_id"], list(account_ids), timeout=FIND_TIMEOUT_S
            )
        return [_account(row) for row in rows]

    async def all(self) -> list[AccountRow]:
        """Every account by name; there are at most ACCOUNTS_MAX."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["all_accounts"], ACCOUNTS_MAX)
        return [_account(row) for row in rows]

    async def insert(self, account: NewAccount, *, told: NewEvent) -> AccountRow:
        """Store an account. Raises Conflict for a name that is taken, or too many accounts."""
        async with self._database.transaction("control") as connection:
            await connection.execute(SQL["lock_accounts"])
            counts = await connection.fetchrow(SQL["count_accounts"], account.username)
            assert counts is not None
            if counts["is_taken"]:
                raise Conflict("there is an account of this name", code="name_taken")
            if counts["present"] >= ACCOUNTS_MAX:
                raise Conflict(f"there are {ACCOUNTS_MAX} accounts", code="too_many_accounts")
            row = await connection.fetchrow(
                SQL["insert_account"],
                account.account_id,
                account.username,
                account.password_hash,
                account.scopes,
                account.tier,
                account.devices,
                account.groups,
                account.metrics,
                account.created_by,
            )
            assert row is not None
            await events.append(connection, told)
        return _account(row)

    async def change(
        self, account_id: str, change: AccountChange, *, told: NewEvent
    ) -> AccountRow | None:
        """Change it, and end its sessions where that is wanted; None when there is no such."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(
                SQL["change_account"], account_id, change.password_hash, change.is_disabled
            )
            if row is None:
                return None
            if change.ends_because is not None:
                await connection.execute(
                    SESSIONS["end_sessions_of"], account_id, change.ends_because
                )
            await events.append(connection, told)
        return _account(row)

    async def delete(self, account_id: str, *, told: NewEvent) -> bool:
        """Remove it and end its sessions; False when there is no such."""
        async with self._database.transaction("control") as connection:
            if await connection.fetchval(SQL["delete_account"], account_id) is None:
                return False
            await connection.execute(SESSIONS["end_sessions_of"], account_id, "disabled")
            await events.append(connection, told)
        return True

    async def note_login(self, account_id: str) -> None:
        async with self._database.transaction("control") as connection:
            await connection.execute(SQL["note_login"], account_id)


def _account(row: Record) -> AccountRow:
    values = dict(row)
    for name in ("scopes", "devices", "groups", "metrics"):
        values[name] = None if values[name] is None else tuple(values[name])
    return AccountRow(**values)
