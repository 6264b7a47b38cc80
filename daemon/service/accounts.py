"""Accounts of people: making, changing and removing them, and who is behind a name and password."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from daemon.clock import Clock
from daemon.domain import tellings
from daemon.domain.access import GroupMembers, Principal
from daemon.domain.account_request import AccountRequest, is_username
from daemon.domain.clients import network_of
from daemon.domain.errors import Conflict, Forbidden, Invalid, NotFound
from daemon.domain.ids import new_id
from daemon.domain.key_request import KeyRequest, check_patterns, is_within, principal_of
from daemon.domain.tokens import digest_of
from daemon.log import get_logger
from daemon.service.lookups import Lookups
from daemon.service.passwords import Passwords
from daemon.store.accounts import AccountChange, AccountRow, AccountStore, NewAccount

log = get_logger()


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as administrators see it."""

    account_id: str
    username: str
    scopes: list[str]
    tier: str
    devices: list[str] | None
    groups: list[str] | None
    metrics: list[str] | None
    disabled: bool
    created_at: datetime
    created_by: str
    last_login_at: datetime | None
    updated_at: datetime


class Accounts:
    """Accounts of this database. Changes end the sessions that they should."""

    def __init__(
        self,
        store: AccountStore,
        *,
        clock: Clock,
        passwords: Passwords,
        members: GroupMembers | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._members = members
        self._names = Lookups(clock)

    async def create(self, wanted: AccountRequest, *, by: Principal) -> AccountView:
        """Make an account that may do no more than its maker. Raises Forbidden, Invalid, Conflict,
        Busy."""
        if not is_username(wanted.username):
            raise Invalid("a username holds letters, digits and _ . @ + - only", code="bad_name")
        rights = KeyRequest(
            wanted.username,
            wanted.scopes,
            wanted.tier,
            None,
            wanted.devices,
            wanted.groups,
            wanted.metrics,
        )
        check_patterns(rights)
        if not is_within(principal_of(rights), by):
            raise Forbidden("an account can't be made that may do more", code="wider_account")
        now_us = self._clock.now_us()
        new = NewAccount(
            new_id("acc", now_us=now_us),
            wanted.username,
            await self._passwords.hash(wanted.password),
            list(dict.fromkeys(wanted.scopes)),
            wanted.tier,
            wanted.devices,
            wanted.groups,
            wanted.metrics,
            by.key_id,
        )
        told = tellings.account_created(new, by=by.key_id, now_us=now_us)
        row = await self._store.insert(new, told=told)
        log.info("account_created", account_id=row.account_id, by=by.key_id)
        return _view(row)

    async def page(
        self, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[AccountView], int]:
        """The accounts that may do no more than the asker, by name: a page, and how many."""
        visible = [row for row in await self._store.all() if is_within(_principal(row), by)]
        return [_view(row) for row in visible[offset : offset + limit]], len(visible)

    async def show(self, username: str, *, by: Principal) -> AccountView:
        """Raises NotFound also for one that may do more than the asker."""
        return _view(await self._visible(username, by=by))

    async def _visible(self, username: str, *, by: Principal) -> AccountRow:
        row = await self._store.find(username) if is_username(username) else None
        if row is None or not is_within(_principal(row), by):
            raise NotFound("there is no such account")
        return row

    async def change(
        self,
        username: str,
        *,
        by: Principal,
        password: str | None = None,
        is_disabled: bool | None = None,
    ) -> AccountView:
        """Give it another password, disable or enable it; both ends its sessions. Raises NotFound,
        Conflict, Busy."""
        row = await self._visible(username, by=by)
        because = "password" if password is not None else "disabled" if is_disabled else None
        given = (("password", password), ("disabled", is_disabled))
        told = tellings.account_updated(
            row,
            [name for name, value in given if value is not None],
            by=by.key_id,
            now_us=self._clock.now_us(),
        )
        hashed = None if password is None else await self._passwords.hash(password)
        change = AccountChange(hashed, is_disabled, because)
        changed = await self._store.change(row.account_id, change, told=told)
        if changed is None:
            raise NotFound("there is no such account")
        log.info("account_changed", account_id=row.account_id, by=by.key_id, because=because)
        return _view(changed)

    async def delete(self, username: str, *, by: Principal) -> None:
        """Remove it and end its sessions. Raises NotFound, Conflict for one's own."""
        row = await self._visible(username, by=by)
        if row.account_id == by.key_id:
            raise Conflict("one's own account can't be deleted", code="own_account")
        told = tellings.account_deleted(row, by=by.key_id, now_us=self._clock.now_us())
        if not await self._store.delete(row.account_id, told=told):
            raise NotFound("there is no such account")
        log.info("account_deleted", account_id=row.account_id, by=by.key_id)

    # -- who is it ---------------------------------------------------------------------------

    async def login(self, username: str, password: str, *, address: str) -> Principal | None:
        """The holder of the account; None for an unknown name, a wrong password and a disabled
        account alike, after as long. Raises Busy, StoreUnavailable."""
        row = None
        if is_username(username):
            # By network, or who floods would learn which names came lately.
            digest = digest_of(f"{network_of(address)} {username}")
            row = await self._names.find(digest, lambda: self._store.find(username))
        is_right = await self._passwords.is_right(
            password, None if row is None else row.password_hash
        )
        if row is None or not is_right or row.disabled_at is not None:
            return None
        await self._store.note_login(row.account_id)
        return self._holder(row)

    async def holders(self, account_ids: Collection[str]) -> dict[str, Principal]:
        """Those that may come in now, by id. Raises StoreUnavailable."""
        rows = await self._store.find_active(account_ids)
        return {row.account_id: self._holder(row) for row in rows}

    def _holder(self, row: AccountRow) -> Principal:
        return replace(_principal(row), members=self._members)


def _principal(row: AccountRow) -> Principal:
    return Principal(
        row.account_id,
        row.username,
        frozenset(row.scopes),
        row.tier,
        row.devices,
        row.groups,
        row.metrics,
    )


def _view(row: AccountRow) -> AccountView:
    return AccountView(
        row.account_id,
        row.username,
        list(row.scopes),
        row.tier,
        None if row.devices is None else list(row.devices),
        None if row.groups is None else list(row.groups),
        None if row.metrics is None else list(row.metrics),
        row.disabled_at is not None,
        row.created_at,
        row.created_by,
        row.last_login_at,
        row.updated_at,
    )
