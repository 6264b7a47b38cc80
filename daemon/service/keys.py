"""API keys: who a credential is, and making, rotating and revoking keys.

Their text is made in domain/tokens. Who an access token stands for is asked of service/sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import GroupMembers, Principal, Session
from daemon.domain.bearer import Claims, looks_like_one
from daemon.domain.errors import (
    Busy,
    Forbidden,
    NotFound,
    StoreUnavailable,
    Unauthenticated,
)
from daemon.domain.ids import new_id
from daemon.domain.key_request import KeyRequest, check_patterns, is_within, payers_of, principal_of
from daemon.domain.signatures import shown_key
from daemon.domain.tokens import digest_of, key_id_of, new_token
from daemon.log import get_logger
from daemon.service.failure_log import FailureLog
from daemon.service.key_cache import ExpiringCache
from daemon.service.key_rows import (
    accepted_for_s,
    ends_at,
    ends_within,
    former_until,
    is_alive,
    principal_of_row,
    row_of,
    signing_key_of,
)
from daemon.service.key_uses import KeyUses
from daemon.service.key_view import KeyView, listed, view_of
from daemon.service.lookups import Lookups
from daemon.service.signatures import Signatures
from daemon.store.keys import KeyRow, KeyStore

REFUSED_FOR_S = 2.0
CACHE_ENTRIES_MAX = 4_096
LOOKUPS_WAITING_MAX = 256

log = get_logger()


@dataclass(frozen=True, slots=True)
class Credential:
    """What a stream was opened with; without `digest` by a ticket of the key, with a `session` by
    an access token or a ticket of that."""

    key_id: str
    digest: bytes | None
    session: Session | None = None


Found = tuple[Principal, float]
"""Who it is, and for how many seconds that may be believed."""


class AccessTokens(Protocol):
    """What is known of access tokens."""

    def read(self, token: str) -> Claims: ...
    async def holder(self, claims: Claims) -> Found | None: ...
    async def alive(self, held: Collection[Credential]) -> dict[Credential, datetime | None]: ...


class Keys:
    """Credentials of this process's requests, and the keys behind them."""

    def __init__(
        self,
        store: KeyStore,
        *,
        clock: Clock,
        env: str = "live",
        members: GroupMembers | None = None,
    ) -> None:
        self._store = store
        self.members = members
        self._clock = clock
        self._env = env
        self._accepted: ExpiringCache[Principal] = ExpiringCache(
            clock, entries_max=CACHE_ENTRIES_MAX
        )
        self._refused: ExpiringCache[str] = ExpiringCache(clock, entries_max=CACHE_ENTRIES_MAX)
        self._looked_up = 0
        self._lookups: dict[bytes, asyncio.Future[Principal | None]] = {}
        self._unknown = Lookups(clock)
        self.uses = KeyUses(store, clock=clock)
        self._failures = FailureLog(clock)
        self.signatures = Signatures(clock, self._failures)
        self.sessions: AccessTokens | None = None

    def cached(self, token: str, *, address: str) -> Principal | None:
        """The holder of a key that was accepted in the last seconds; None means.

        Ask `authenticate`.
        """
        principal = self._accepted.get(digest_of(token))
        if principal is not None:
            self.uses.note(principal, address)
        return principal

    def cached_of(self, digest: bytes) -> Principal | None:
        """As `cached`, for who keeps the digest instead of the key, and notes the use itself."""
        return self._accepted.get(digest)

    def lookups(self) -> dict[str, int]:
        """How often a credential was known from before, as good or bad, and how often it was looked
        up."""
        return {"hit": self._accepted.hits + self._refused.hits, "miss": self._looked_up}

    def forget(self) -> None:
        """Ask again of everybody: somebody's right has ended."""
        self._accepted.clear()

    async def authenticate(self, token: str | None, *, address: str) -> Principal:
        """The holder of this key or access token.

        Raises Unauthenticated, and StoreUnavailable or Busy when it can't be known now: never open,
        never a wrong 401.
        """
        if token is None:
            raise self._refusal("missing", key_id=None, address=address)
        digest = digest_of(token)
        principal = self._accepted.get(digest)
        if principal is None:
            key_id, find = self._finder(token, digest, address=address)
            if self._refused.get(digest) is None:
                self._looked_up += 1
                principal = await self._look_up_once(digest, find)
            if principal is None:
                raise self._refusal("unknown", key_id=key_id, address=address)
        self.uses.note(principal, address)
        return principal

    def _finder(
        self, token: str, digest: bytes, *, address: str
    ) -> tuple[str, Callable[[], Awaitable[Found | None]]]:
        """The id that the credential names, and how to find its holder.

        Raises Unauthenticated for what can be neither a key nor a token, without a query.
        """
        key_id = key_id_of(token)
        if key_id is not None:
            return key_id, partial(self._found, key_id, digest)
        if self.sessions is None or not looks_like_one(token):
            raise self._refusal("malformed", key_id=None, address=address)
        try:
            claims = self.sessions.read(token)
        except Unauthenticated as error:
            raise self._refusal("token", key_id=None, address=address) from error
        return claims.subject, partial(self.sessions.holder, claims)

    def _refusal(self, reason: str, *, key_id: str | None, address: str) -> Unauthenticated:
        self._failures.log(reason, key_id=key_id, address=address)
        return Unauthenticated()

    async def _look_up_once(
        self, digest: bytes, find: Callable[[], Awaitable[Found | None]]
    ) -> Principal | None:
        """One query for all requests that come with the same credential meanwhile."""
        running = self._lookups.get(digest)
        if running is not None:
            return await asyncio.shield(running)
        if len(self._lookups) >= LOOKUPS_WAITING_MAX:
            raise Busy("too many credentials are being checked")
        future: asyncio.Future[Principal | None] = asyncio.get_running_loop().create_future()
        self._lookups[digest] = future
        try:
            principal = await self._look_up(digest, find)
            future.set_result(principal)
            return principal
        except Exception as error:
            future.set_exception(error)
            raise
        finally:
            del self._lookups[digest]
            if not future.done():
                # This request was cancelled; those that wait for it were not.
                future.set_exception(StoreUnavailable())
            if future.exception() is not None:
                pass  # Taken, so that asyncio does not report it when nobody waits.

    async def _look_up(
        self, digest: bytes, find: Callable[[], Awaitable[Found | None]]
    ) -> Principal | None:
        async def look_up() -> Found | None:
            found = await find()
            return None if found is None or found[1] <= 0 else found

        found = await self._unknown.find(digest, look_up)
        if found is None:
            self._refused.put(digest, "", lifetime_s=REFUSED_FOR_S)
            return None
        self._accepted.put(digest, found[0], lifetime_s=found[1])
        return found[0]

    async def _found(self, key_id: str, digest: bytes) -> Found | None:
        row = await self._store.find(key_id)
        if row is None:
            return None
        now = as_datetime(self._clock.now_us())
        return self._principal(row, digest), accepted_for_s(row, digest, now)

    async def holders_of(
        self, shown: Collection[tuple[str, bytes]]
    ) -> dict[tuple[str, bytes], Principal]:
        """The holders of keys that would be accepted now, by id and hash of the secret.

        Raises StoreUnavailable.
        """
        rows = {row.key_id: row for row in await self._store.find_many({key for key, _ in shown})}
        now = as_datetime(self._clock.now_us())
        return {
            (key_id, digest): self._principal(row, digest)
            for key_id, digest in shown
            if (row := rows.get(key_id)) is not None and is_alive(row, digest, now)
        }

    async def holder_of(self, key_id: str) -> Principal:
        """The holder of a key that a ticket stands for.

        Raises Unauthenticated, StoreUnavailable.
        """
        row = await self._store.find(key_id)
        if row is None or not is_alive(row, None, as_datetime(self._clock.now_us())):
            raise Unauthenticated()
        return self._principal(row)

    async def alive(self, held: Collection[Credential]) -> dict[Credential, datetime | None]:
        """Those that would be accepted now, a former secret with the end of its overlap; not what
        was revoked or has ended. Raises StoreUnavailable.
        """
        of_sessions = {credential for credential in held if credential.session is not None}
        alive = await self.sessions.alive(of_sessions) if self.sessions and of_sessions else {}
        shown = set(held) - of_sessions
        rows = await self._store.find_many({credential.key_id for credential in shown})
        known = {row.key_id: row for row in rows}
        now = as_datetime(self._clock.now_us())
        return alive | {
            credential: former_until(row, credential.digest)
            for credential in shown
            if (row := known.get(credential.key_id)) is not None
            and is_alive(row, credential.digest, now)
        }

    def _principal(self, row: KeyRow, digest: bytes | None = None) -> Principal:
        """The holder, who sees the members of its groups as they are when it is asked."""
        return replace(
            principal_of_row(row),
            members=self.members,
            ends_at=ends_at(row, digest),
            former_until=former_until(row, digest),
            signing_key=signing_key_of(row, digest),
        )

    async def create(self, wanted: KeyRequest, *, by: Principal) -> KeyView:
        """Make a key that may do no more than its maker. Raises Forbidden, Invalid, Conflict."""
        now_us = self._clock.now_us()
        check_patterns(wanted)
        self._refuse_wider(wanted, by=by, now=as_datetime(now_us))
        await self.confirm(by)
        key_id = new_id("key", now_us=now_us)
        token = new_token(key_id, env=self._env)
        new = row_of(wanted, key_id, digest_of(token), env=self._env, by=by.key_id, now_us=now_us)
        new = replace(new, payers=payers_of(by))
        told = tellings.key_created(new, by=by.key_id, now_us=now_us)
        created_at = await self._store.insert(new, told=told)
        self._unknown.expect(new.secret_hash)
        log.info("key_created", key_id=key_id, by=by.key_id, scopes=list(wanted.scopes))
        return KeyView(
            key_id,
            wanted.name,
            list(new.scopes),
            wanted.tier,
            listed(wanted.devices),
            listed(wanted.groups),
            listed(wanted.metrics),
            new.expires_at,
            created_at,
            by.key_id,
            signing_key=shown_key(new.signing_key),
            key=token,
        )

    def _refuse_wider(self, wanted: KeyRequest, *, by: Principal, now: datetime) -> None:
        _refuse_foreign(by)
        expires_at = None if wanted.lifetime is None else now + wanted.lifetime
        if not ends_within(expires_at, by) or not is_within(principal_of(wanted), by):
            raise Forbidden("a key can't make one that may do more than itself", code="wider_key")

    async def confirm(self, by: Principal) -> None:
        """Ask again whether the credential is good, before it makes another: what was revoked a
        moment ago, on another daemon, would live on in what it made.

        Raises Unauthenticated, StoreUnavailable.
        """
        if not await self.alive({Credential(by.key_id, None, by.session)}):
            raise Unauthenticated()

    async def page(self, *, by: Principal, limit: int, offset: int) -> tuple[list[KeyView], int]:
        """The keys that may do no more than the asking one, newest first: a page, and how many."""
        visible = [row for row in await self._store.all() if is_within(principal_of_row(row), by)]
        return [view_of(row) for row in visible[offset : offset + limit]], len(visible)

    async def show(self, key_id: str, *, by: Principal) -> KeyView:
        """Raises NotFound also for a key that may do more than the asking one."""
        row = await self._visible(key_id, by=by)
        now = as_datetime(self._clock.now_us())
        return replace(
            view_of(row),
            networks=await self._store.networks.of_key(key_id),
            former_callers=await self._store.former_callers.of_key(key_id, now=now),
        )

    async def holder(self, principal: Principal) -> KeyView:
        """The key of a request. Raises Unauthenticated when it was revoked meanwhile."""
        row = await self._store.find(principal.key_id)
        if row is None:
            raise Unauthenticated()
        return view_of(row)

    async def _visible(self, key_id: str, *, by: Principal) -> KeyRow:
        row = await self._store.find(key_id) if key_id.isprintable() else None
        if row is None or not is_within(principal_of_row(row), by):
            raise NotFound("there is no such key")
        return row

    async def revoke(self, key_id: str, *, by: Principal) -> None:
        """Accept a key no longer; this daemon at once, others within seconds.

        Raises NotFound, Conflict.
        """
        row = await self._visible(key_id, by=by)
        now_us = self._clock.now_us()
        told = tellings.key_revoked(key_id, row.name, by=by.key_id, now_us=now_us)
        if not await self._store.revoke(key_id, at=as_datetime(now_us), told=told):
            raise NotFound("there is no such key")
        self._accepted.clear()
        log.info("key_revoked", key_id=key_id, by=by.key_id)

    async def rotate(
        self, key_id: str, *, overlap: timedelta, by: Principal, signing_key: bytes | None = None
    ) -> KeyView:
        """Give a key a new secret; the former one works for `overlap` more, signed as before.

        Only who may do as much, for as long, may rotate a key, since it learns the secret. Raises
        NotFound, Forbidden.
        """
        row = await self._visible(key_id, by=by)
        _refuse_foreign(by)
        if not ends_within(row.expires_at, by):
            raise Forbidden("the key lasts longer than who would turn it", code="wider_key")
        await self.confirm(by)
        now_us = self._clock.now_us()
        until = as_datetime(now_us) + overlap
        token = new_token(key_id, env=row.env)
        digest = digest_of(token)
        told = tellings.key_rotated(key_id, row.name, until, by=by.key_id, now_us=now_us)
        if not await self._store.rotate(
            key_id,
            secret_hash=digest,
            signing_key=signing_key,
            former_valid_until=until,
            told=told,
        ):
            raise NotFound("there is no such key")
        self._accepted.clear()
        self._unknown.expect(digest)
        log.info("key_rotated", key_id=key_id, by=by.key_id, overlap_s=overlap.total_seconds())
        signing_key = signing_key or row.signing_key
        turned = replace(row, signing_key=signing_key, former_valid_until=until)
        return view_of(turned, key=token)

    async def bootstrap(self) -> str | None:
        """Make the first key (scope admin, tier enterprise) and return its secret.

        None when there has been a key.
        """
        now_us = self._clock.now_us()
        key_id = new_id("key", now_us=now_us)
        token = new_token(key_id, env=self._env)
        wanted = KeyRequest(name="first key", scopes=("admin",), tier="enterprise")
        new = row_of(wanted, key_id, digest_of(token), env=self._env, by="bootstrap", now_us=now_us)
        told = tellings.key_created(new, by="bootstrap", now_us=now_us)
        if not await self._store.insert_first(new, told=told):
            return None
        log.info("key_bootstrapped", key_id=key_id)
        return token


def _refuse_foreign(by: Principal) -> None:
    if by.is_foreign:
        raise Forbidden("a token of another issuer makes no keys", code="foreign_token")
