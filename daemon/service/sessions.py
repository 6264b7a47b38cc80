"""Sessions: what a login gives, how its tokens follow one another, and when it ends.

An access token is a short JWT (domain/bearer); whether its session and whom it stands for may still
come in is asked of the database, and remembered as long as that of a key (service/keys). A refresh
token is random, used once, and has one successor.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from daemon.clock import Clock, as_datetime, as_us
from daemon.domain import bearer, tellings
from daemon.domain.access import Principal, Session
from daemon.domain.account_request import AccountRequest
from daemon.domain.bearer import BadToken, Claims, Grant, Issuer
from daemon.domain.errors import Forbidden, TryLater, Unauthenticated
from daemon.domain.foreign import foreign_principal
from daemon.domain.former_callers import Caller
from daemon.domain.ids import new_id
from daemon.domain.tokens import digest_of
from daemon.log import get_logger
from daemon.service.accounts import Accounts, AccountView
from daemon.service.guesses import Guesses
from daemon.service.key_rows import ACCEPTED_FOR_S
from daemon.service.keys import Credential, Keys
from daemon.service.lookups import Lookups
from daemon.store.sessions import SessionRow, SessionStore, TokenRow, Use

REFRESH_PREFIX = "tlr_"
REFRESH_CHARACTERS_MAX = 128
SECRET_BYTES = 32
GRACE = timedelta(seconds=10)
"""Within it a refresh token that was used gives the same successor again: an answer got lost, or
two tabs came at once."""

log = get_logger()


class NoSigningKey(TryLater):
    """The daemon has no [auth] jwt_secret, so nobody can log in; keys work."""

    code = "no_jwt_secret"


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """`secrets` sign and verify access tokens: the first signs. Without one nobody logs in."""

    secrets: Sequence[bytes] = field(default=(), repr=False)
    issuers: Sequence[Issuer] = ()
    access_life: timedelta = timedelta(minutes=15)
    session_life: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Login:
    """What a login or a refresh answers."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_s: int


class Sessions:
    """Logs people and keys in; `Keys` asks it about access tokens."""

    def __init__(
        self,
        store: SessionStore,
        *,
        keys: Keys,
        accounts: Accounts,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keys = keys
        self.accounts = accounts
        self._clock = clock
        self._guesses = Guesses(clock)
        self._tokens = Lookups(clock)
        self._settings = SessionSettings()
        self._issuers: Mapping[str, Issuer] = {}
        keys.sessions = self

    def configure(self, settings: SessionSettings) -> None:
        """From now on with these secrets and issuers; until then nobody can log in."""
        self._settings = settings
        own = bearer.own_issuer(settings.secrets)
        self._issuers = {issuer.issuer: issuer for issuer in (*settings.issuers, own)}

    def trust(self, issuers: Sequence[Issuer]) -> None:
        """From now on with these keys of other issuers; what one of them let in is asked again."""
        self.configure(replace(self._settings, issuers=issuers))
        self._keys.forget()

    # -- login and what follows --------------------------------------------------------------

    async def login_key(self, token: str, *, caller: Caller) -> Login:
        """Raises Unauthenticated, RateLimited, TryLater; Forbidden for a key whose requests are
        signed: a session's would not be."""
        address = caller.address
        with self._guesses.attempt(name=None, address=address):
            principal = await self._keys.authenticate(token, address=address)
            if principal.session is not None:
                raise Unauthenticated("an access token logs nobody in; refresh it")
        if principal.signing_key is not None:
            raise Forbidden("a key whose requests are signed logs nobody in", code="signed_key")
        self._note(caller, principal)
        return await self._begin(principal, key_hash=digest_of(token), address=address)

    async def login_account(self, username: str, password: str, *, address: str) -> Login:
        """Raises Unauthenticated, RateLimited, TryLater."""
        with self._guesses.attempt(name=username, address=address):
            principal = await self.accounts.login(username, password, address=address)
            if principal is None:
                log.warning("login_failed", address=address)
                raise Unauthenticated("the username or the password is wrong")
        return await self._begin(principal, key_hash=None, address=address)

    async def _begin(self, principal: Principal, *, key_hash: bytes | None, address: str) -> Login:
        now_us = self._clock.now_us()
        is_key = key_hash is not None
        session = SessionRow(
            new_id("ses", now_us=now_us),
            principal.key_id if is_key else None,
            key_hash,
            None if is_key else principal.key_id,
            as_datetime(now_us) + self._settings.session_life,
        )
        refresh = REFRESH_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        login = self._login(session, refresh)
        await self._store.insert(session, token_hash=digest_of(refresh), address=address[:64])
        self._tokens.expect(digest_of(refresh))
        log.info("logged_in", principal=principal.key_id, session_id=session.session_id)
        return login

    def _login(self, session: SessionRow, refresh_token: str) -> Login:
        """A new access token beside that refresh token. Raises NoSigningKey."""
        if not self._settings.secrets:
            raise NoSigningKey()
        now_s = self._clock.now_us() // 1_000_000
        ends_s = as_us(session.expires_at) // 1_000_000
        life_s = int(self._settings.access_life.total_seconds())
        expires_s = max(now_s + 1, min(now_s + life_s, ends_s))
        grant = Grant(
            session.key_id or session.account_id or "",
            session.session_id,
            secrets.token_urlsafe(12),
            now_s,
            expires_s,
        )
        access = bearer.signed(grant, secret=self._settings.secrets[0])
        return Login(access, refresh_token, expires_s - now_s)

    async def refresh(self, token: str, *, caller: Caller) -> Login:
        """The next tokens. One that was used before GRACE ends its session. Raises Unauthenticated,
        RateLimited, TryLater."""
        if not _may_be_one(token):
            raise Unauthenticated("this is no refresh token")
        with self._guesses.attempt(name=None, address=caller.address):
            return await self._next(token, caller)

    async def _next(self, token: str, caller: Caller) -> Login:
        turn = _Turn(token, as_datetime(self._clock.now_us()), caller.address)

        async def use() -> str | None:
            await self._store.use(digest_of(token), decide=turn.decide)
            return turn.successor

        await self._tokens.find(digest_of(token), use)
        if turn.is_reused:
            self._keys.forget()
            log.warning("refresh_token_reused", address=caller.address)
        session = turn.session
        holders = await self._holders([session]) if session and turn.successor else {}
        if session is None or turn.successor is None or not holders:
            raise Unauthenticated("the refresh token was used, is too old, or is none")
        self._note(caller, holders[session.session_id])
        self._tokens.expect(digest_of(turn.successor))
        return self._login(session, turn.successor)

    def _note(self, caller: Caller, principal: Principal) -> None:
        """Whoever opens or goes on with a session by a former secret comes with that."""
        former = self._keys.uses.former
        former.note(caller, key_id=principal.key_id, until=principal.former_until)

    async def logout(
        self, *, refresh_token: str | None, access_token: str | None, address: str
    ) -> None:
        """End the session of either token.

        With a refresh token one that has ended is no error. Raises Unauthenticated for what is no
        token of a session, RateLimited, TryLater.
        """
        if refresh_token is None and access_token is None:
            raise Unauthenticated("this is no token of a session")
        with self._guesses.attempt(name=None, address=address):
            if refresh_token is not None:
                session_id = await self._session_of(refresh_token)
            else:
                principal = await self._keys.authenticate(access_token, address=address)
                session_id = principal.session.session_id if principal.session else None
            if session_id is None:
                raise Unauthenticated("this is no token of a session")
        if await self._store.end(session_id, because="logout"):
            log.info("logged_out", session_id=session_id)
            self._keys.forget()

    async def _session_of(self, refresh_token: str) -> str | None:
        """Whose token it is, whatever became of either."""
        if not _may_be_one(refresh_token):
            return None
        digest = digest_of(refresh_token)
        return await self._tokens.find(digest, lambda: self._store.session_of(digest))

    async def create_account(self, wanted: AccountRequest, *, by: Principal) -> AccountView:
        """Raises Forbidden, Invalid, Conflict, Busy, Unauthenticated."""
        _refuse_ending(by)
        await self._keys.confirm(by)
        return await self.accounts.create(wanted, by=by)

    async def change_account(
        self, username: str, *, by: Principal, password: str | None, is_disabled: bool | None
    ) -> AccountView:
        """Raises NotFound, Forbidden, Busy, Unauthenticated."""
        if password is not None:
            _refuse_ending(by)
            await self._keys.confirm(by)
        changed = await self.accounts.change(
            username, by=by, password=password, is_disabled=is_disabled
        )
        self._keys.forget()
        return changed

    async def delete_account(self, username: str, *, by: Principal) -> None:
        """Raises NotFound, Conflict."""
        await self.accounts.delete(username, by=by)
        self._keys.forget()

    # -- access tokens -----------------------------------------------------------------------

    def read(self, token: str) -> Claims:
        """The claims of an access token that is signed and in time. Raises Unauthenticated."""
        now_s = self._clock.now_us() / 1_000_000
        try:
            return bearer.read(token, issuers=self._issuers, now_s=now_s)
        except BadToken as error:
            raise Unauthenticated() from error

    async def holder(self, claims: Claims) -> tuple[Principal, float] | None:
        """Who a token stands for, and how long in seconds that may be believed; None: nobody.

        Raises StoreUnavailable.
        """
        left_s = claims.expires_s - self._clock.now_us() / 1_000_000
        if not claims.issuer.is_own:
            ends_s = claims.expires_s + bearer.LEEWAY_S
            principal = foreign_principal(
                claims.all, claims.issuer.rights, issuer=claims.issuer.name, expires_s=ends_s
            )
            principal = replace(principal, members=self._keys.members)
            return principal, min(ACCEPTED_FOR_S, left_s + bearer.LEEWAY_S)
        if claims.session_id is None:
            return None
        rows = await self._store.find([claims.session_id])
        holders = await self._holders(rows)
        known = holders.get(claims.session_id)
        if known is None or known.key_id != claims.subject:
            return None
        session = Session(claims.session_id, claims.expires_s)
        return replace(known, session=session), min(ACCEPTED_FOR_S, left_s)

    async def holder_of(self, session_id: str) -> Principal:
        """Who a ticket of this session stands for. Raises Unauthenticated, StoreUnavailable."""
        rows = await self._store.find([session_id])
        principal = (await self._holders(rows)).get(session_id)
        if principal is None:
            raise Unauthenticated()
        ends_s = as_us(rows[0].expires_at) / 1_000_000
        return replace(principal, session=Session(session_id, ends_s))

    async def alive(self, held: Collection[Credential]) -> dict[Credential, datetime | None]:
        """Those whose session goes on; one of a former secret with the end of its overlap. Raises
        StoreUnavailable."""
        own = {c.session.session_id for c in held if c.session and c.session.session_id}
        holders = await self._holders(await self._store.find(own)) if own else {}
        now_s = self._clock.now_us() / 1_000_000
        alive: dict[Credential, datetime | None] = {}
        for credential in held:
            session = credential.session
            if session is None:
                continue
            if session.session_id in holders:
                alive[credential] = holders[session.session_id].former_until
            elif session.session_id is None and session.expires_s > now_s:
                alive[credential] = None
        return alive

    async def _holders(self, rows: Collection[SessionRow]) -> dict[str, Principal]:
        """Who is behind each session that goes on: its key still takes the secret that it was
        opened with, its account is there and enabled."""
        now = as_datetime(self._clock.now_us())
        rows = [row for row in rows if row.expires_at > now]
        account_ids = {row.account_id for row in rows if row.account_id}
        accounts = await self.accounts.holders(account_ids) if account_ids else {}
        shown = {(row.key_id, row.key_hash) for row in rows if row.key_id and row.key_hash}
        keys = await self._keys.holders_of(shown) if shown else {}
        found: dict[str, Principal] = {}
        for row in rows:
            principal = accounts.get(row.account_id or "")
            if row.key_id and row.key_hash:
                principal = keys.get((row.key_id, row.key_hash))
            if principal is not None:
                found[row.session_id] = principal
        return found


@dataclass(slots=True)
class _Turn:
    """One use of a refresh token, decided while its row is locked."""

    token: str = field(repr=False)
    now: datetime
    address: str
    session: SessionRow | None = None
    successor: str | None = field(default=None, repr=False)
    is_reused: bool = False

    def decide(self, row: TokenRow) -> Use | None:
        if row.is_revoked or row.session.expires_at <= self.now:
            return None
        self.session = row.session
        if row.used_at is None:
            salt = secrets.token_bytes(SECRET_BYTES)
            self.successor = _successor(self.token, salt)
            return Use(self.now, salt, digest_of(self.successor))
        if self.now - row.used_at <= GRACE and row.salt is not None:
            self.successor = _successor(self.token, row.salt)
            return None
        self.is_reused = True
        holder = row.session.key_id or row.session.account_id or ""
        told = tellings.session_reused(
            row.session.session_id, holder, address=self.address, now_us=as_us(self.now)
        )
        return Use(self.now, b"", ends_because="reused", told=told)


def _may_be_one(refresh_token: str) -> bool:
    return refresh_token.startswith(REFRESH_PREFIX) and len(refresh_token) <= REFRESH_CHARACTERS_MAX


def _refuse_ending(by: Principal) -> None:
    """An account has no end: who has one would go on by the password that they gave it."""
    if by.is_foreign:
        # It would outlive the right of the one who made it, which only the issuer can end.
        raise Forbidden("a token of another issuer makes no accounts", code="foreign_token")
    if by.ends_at is not None:
        raise Forbidden("a key that expires gives nobody a password", code="wider_account")


def _successor(token: str, salt: bytes) -> str:
    """The token after this one: only who has this one and the database's salt can make it."""
    made = hmac.new(token.encode("ascii", "replace"), b"refresh" + salt, hashlib.sha256)
    return REFRESH_PREFIX + made.hexdigest()
