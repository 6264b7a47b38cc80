"""Wires accounts and sessions, and reads the secrets and issuers that they need."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from daemon.clock import Clock
from daemon.domain.bearer import SECRET_BYTES_MIN
from daemon.domain.errors import DomainError
from daemon.service.accounts import Accounts
from daemon.service.issuers import IssuerSettings, load_issuer
from daemon.service.key_files import key_in
from daemon.service.keys import Keys
from daemon.service.passwords import Passwords
from daemon.service.sessions import Sessions, SessionSettings
from daemon.store.accounts import AccountStore
from daemon.store.pool import Database
from daemon.store.sessions import SessionStore


class WeakSecret(DomainError):
    """A secret of [auth] is too short to sign tokens."""

    code = "weak_secret"


def make_sessions(database: Database, *, keys: Keys, clock: Clock) -> Sessions:
    """Sessions over their store, with the accounts behind them; not configured yet."""
    accounts = Accounts(
        AccountStore(database), clock=clock, passwords=Passwords(), members=keys.members
    )
    return Sessions(SessionStore(database), keys=keys, accounts=accounts, clock=clock)


def signing_secrets(
    text: str, *, former: Sequence[str], file: Path, makes: bool = True
) -> tuple[bytes, ...]:
    """The secrets of access tokens, the one that signs first: configured, or from the file.

    Empty when there is neither. Raises WeakSecret, BadKeyFile.
    """
    found = [one.encode() for one in (text, *former) if one]
    if any(len(secret) < SECRET_BYTES_MIN for secret in found):
        raise WeakSecret(f"[auth] jwt_secret is shorter than {SECRET_BYTES_MIN} bytes")
    if text:
        return tuple(found)
    own = key_in(file, makes=makes)
    return () if own is None else (own, *found)


def session_settings(
    secrets: tuple[bytes, ...],
    *,
    issuers: Sequence[IssuerSettings],
    access_life: timedelta,
    session_life: timedelta,
) -> SessionSettings:
    """What sessions need to know. Raises BadIssuer."""
    loaded = tuple(load_issuer(one) for one in issuers)
    if len({one.issuer for one in loaded}) < len(loaded):
        raise DomainError("two issuers of [auth] have one name", code="bad_issuer")
    return SessionSettings(secrets, loaded, access_life, session_life)
