"""Access tokens: JSON Web Tokens that are made and read here. Whether whom they name may still come
in is decided in service/sessions.

Every key has one algorithm, chosen when it is configured; what a token says of itself only picks
among the keys of its issuer (RFC 8725, sections 3.1 and 3.10).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jwt import PyJWTError
from jwt.api_jws import PyJWS

from daemon.domain.foreign import ForeignRights

TOKEN_CHARACTERS_MAX = 8_192
CLAIM_CHARACTERS_MAX = 256
SECRET_BYTES_MIN = 32
"""RFC 7518, section 3.2: a key of HS256 is as long as its hash at least."""
LEEWAY_S = 30
OWN_ISSUER = "telemetryctl"
OWN_AUDIENCE = "telemetry-api"
OWN_TYPE = "at+jwt"
"""RFC 9068, section 2.1: no other kind of token is taken for an access token."""
OWN_ALGORITHM = "HS256"
_TYPES = frozenset({None, "JWT", "jwt", "at+jwt", "application/at+jwt"})
_SHAPE = re.compile(r"[A-Za-z0-9_-]{2,4096}\.[A-Za-z0-9_-]{2,6144}\.[A-Za-z0-9_-]{16,1024}")
_SECONDS_MAX = 253_402_300_799
"""The end of the year 9999."""


class BadToken(Exception):
    """The text is no token that is accepted; the reason is for the log only."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key and the one algorithm that it is for."""

    key: Any = field(repr=False)
    algorithm: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may issue tokens, and how they are known. `keys` are by `kid`; that of None is for tokens
    that name none, or another.

    `is_own` demands exactly what `signed` writes.
    """

    name: str
    issuer: str
    audience: str
    keys: Mapping[str | None, VerifyingKey] = field(repr=False)
    rights: ForeignRights = field(default_factory=ForeignRights)
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token whose signature is right says; times are seconds since 1970."""

    issuer: Issuer
    subject: str
    expires_s: int
    session_id: str | None
    all: Mapping[str, Any] = field(repr=False)


def looks_like_one(text: str) -> bool:
    """Whether the text may be a token at all: three parts of base64url, and not too long."""
    return len(text) <= TOKEN_CHARACTERS_MAX and _SHAPE.fullmatch(text) is not None


def kid_of(secret: bytes) -> str:
    """A name for a secret that tells nothing of it."""
    return hashlib.sha256(b"telemetry jwt kid" + secret).hexdigest()[:16]


def own_issuer(secrets: Sequence[bytes]) -> Issuer:
    """The daemon itself; its first secret signs, all verify."""
    keys: dict[str | None, VerifyingKey] = {
        kid_of(secret): VerifyingKey(secret, OWN_ALGORITHM) for secret in secrets
    }
    return Issuer("own", OWN_ISSUER, OWN_AUDIENCE, keys, is_own=True)


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token shall say."""

    subject: str
    session_id: str
    token_id: str
    now_s: int
    expires_s: int


def signed(grant: Grant, *, secret: bytes) -> str:
    """The text of an access token of our own."""
    claims = {
        "iss": OWN_ISSUER,
        "aud": OWN_AUDIENCE,
        "sub": grant.subject,
        "sid": grant.session_id,
        "jti": grant.token_id,
        "iat": grant.now_s,
        "exp": grant.expires_s,
    }
    payload = json.dumps(claims, separators=(",", ":")).encode()
    headers = {"typ": OWN_TYPE, "kid": kid_of(secret)}
    return PyJWS().encode(payload, secret, algorithm=OWN_ALGORITHM, headers=headers)


def read(text: str, *, issuers: Mapping[str, Issuer], now_s: float) -> Claims:
    """The claims of a token. `issuers` are by their `iss`. Raises BadToken, and nothing else."""
    if not looks_like_one(text):
        raise BadToken("shape")
    try:
        # What is not verified yet only picks the key.
        unverified = PyJWS().decode_complete(text, options={"verify_signature": False})
        issuer = issuers.get(_text(_object(unverified["payload"]), "iss"))
        if issuer is None:
            raise BadToken("issuer")
        key = _key_for(unverified["header"], issuer)
        verified = PyJWS().decode_complete(text, key.key, algorithms=[key.algorithm])
        return _checked(_object(verified["payload"]), issuer, now_s=now_s)
    except BadToken:
        raise
    except PyJWTError as error:
        raise BadToken(type(error).__name__) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BadToken("unreadable") from error


def _key_for(header: Mapping[str, Any], issuer: Issuer) -> VerifyingKey:
    """The key that the header names; addresses and keys inside it are never looked at."""
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise BadToken("kid")
    if "crit" in header or "b64" in header:
        # RFC 7515, section 4.1.11: what is critical and not understood refuses the token.
        raise BadToken("crit")
    if issuer.is_own and (set(header) != {"alg", "kid", "typ"} or header["typ"] != OWN_TYPE):
        raise BadToken("header")
    kind = header.get("typ")
    if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
        raise BadToken("typ")
    # An issuer of one key, given as a file, may name it as it likes.
    found = issuer.keys.get(kid) or issuer.keys.get(None)
    if found is None:
        raise BadToken("kid")
    if header.get("alg") != found.algorithm:
        raise BadToken("alg")
    return found


def _checked(claims: Mapping[str, Any], issuer: Issuer, *, now_s: float) -> Claims:
    if _text(claims, "iss") != issuer.issuer:
        raise BadToken("issuer")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) and not issuer.is_own else [audience]
    if not all(isinstance(one, str) for one in named) or issuer.audience not in named:
        raise BadToken("audience")
    issued_s, expires_s = _seconds(claims, "iat"), _seconds(claims, "exp")
    if expires_s <= now_s - (0 if issuer.is_own else LEEWAY_S):
        raise BadToken("expired")
    not_before_s = _seconds(claims, "nbf") if "nbf" in claims else issued_s
    if max(issued_s, not_before_s) > now_s + LEEWAY_S or issued_s >= expires_s:
        raise BadToken("not_yet")
    session_id = None
    if issuer.is_own:
        session_id = _text(claims, "sid")
        _text(claims, "jti")
    return Claims(issuer, _text(claims, "sub"), expires_s, session_id, claims)


def _object(payload: bytes) -> dict[str, Any]:
    found = json.loads(payload.decode("utf-8"), object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise BadToken("claims")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: readers disagree on which of two counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadToken("claims")
    return found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= CLAIM_CHARACTERS_MAX:
        raise BadToken(name)
    if not value.isprintable():
        raise BadToken(name)
    return value


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    """A time as whole seconds; a number of JSON may be a fraction (RFC 7519, section 2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(name)
    if not 0 <= value <= _SECONDS_MAX:
        raise BadToken(name)
    return int(value)
