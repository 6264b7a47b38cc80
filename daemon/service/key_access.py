"""What a key may do, for who holds it and who may administer it. Who it is is service/keys'."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from daemon.clock import Clock, as_datetime
from daemon.domain.access import GroupMembers, Principal
from daemon.domain.errors import NotFound
from daemon.domain.key_request import is_within
from daemon.service.key_rows import principal_of_row
from daemon.store.keys import KeyRow, KeyStore

SELF = "self"
"""Who asks, whatever the credential."""


class KeyState(StrEnum):
    """Whether a key is accepted; `overlapping`: the secret before its last rotation is, too."""

    ACTIVE = "active"
    OVERLAPPING = "overlapping"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Holder:
    """A principal, and whether its key is accepted."""

    principal: Principal
    state: KeyState = KeyState.ACTIVE
    expires_at: datetime | None = None
    former_valid_until: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def is_alive(self) -> bool:
        return self.state in (KeyState.ACTIVE, KeyState.OVERLAPPING)


class KeyAccess:
    def __init__(
        self, store: KeyStore, *, clock: Clock, members: GroupMembers | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._members = members

    async def find(self, key_id: str, *, by: Principal) -> Holder:
        """The holder of a key, also of one that was revoked: the asker itself, or who may do no
        more than an asker with the scope `keys`.

        Raises NotFound.
        """
        if key_id == SELF:
            if not by.key_id.startswith("key_"):
                return _of_session(by)
            key_id = by.key_id
        row, revoked_at = await self._store.find_ever(key_id)
        if row is None or not _may_see(row, by):
            raise NotFound("there is no such key")
        return self._holder(row, revoked_at)

    async def within(self, key_ids: Collection[str], *, by: Principal) -> set[str]:
        """Those that the asker may administer, as GET /keys lists them. Raises StoreUnavailable."""
        rows = await self._store.find_many(key_ids)
        return {row.key_id for row in rows if is_within(principal_of_row(row), by)}

    def _holder(self, row: KeyRow, revoked_at: datetime | None) -> Holder:
        now = as_datetime(self._clock.now_us())
        until, ends_at = row.former_valid_until, row.expires_at
        state = KeyState.ACTIVE
        if revoked_at is not None:
            state = KeyState.REVOKED
        elif ends_at is not None and ends_at <= now:
            state = KeyState.EXPIRED
        elif until is not None and until > now:
            state = KeyState.OVERLAPPING
        principal = replace(principal_of_row(row), members=self._members, ends_at=ends_at)
        return Holder(principal, state, ends_at, until, revoked_at)


def _of_session(by: Principal) -> Holder:
    """Of an account, of another issuer's token, or of a service inside."""
    if by.session is None:
        return Holder(by)
    return Holder(by, expires_at=as_datetime(round(by.session.expires_s * 1_000_000)))


def _may_see(row: KeyRow, by: Principal) -> bool:
    """As the key would be shown, and always one's own."""
    if by.key_id == row.key_id:
        return True
    return bool(by.scopes & {"keys", "admin"}) and is_within(principal_of_row(row), by)
