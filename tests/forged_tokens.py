"""Access tokens that nobody may come in with, each with what is wrong about it, and honest ones to
compare."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.api_jws import PyJWS

from daemon.domain.bearer import OWN_AUDIENCE, OWN_ISSUER, OWN_TYPE, kid_of

FOREIGN_ISSUER = "https://id.example.org"
FOREIGN_AUDIENCE = "telemetry"
_DROPPED = object()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def hs(header: Any, claims: Any, *, secret: bytes, hash: str = "sha256") -> str:
    """A token as it stands, with an HMAC that is right for it."""
    signing = f"{b64(as_json(header))}.{b64(as_json(claims))}"
    return f"{signing}.{b64(hmac.digest(secret, signing.encode(), hash))}"


@dataclass(frozen=True)
class Forge:
    """Knows the secret, a session that is alive and a key of another issuer: what a test needs to
    make a token wrong in one place only."""

    secret: bytes
    now_s: int
    subject: str
    session_id: str
    private: rsa.RSAPrivateKey

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": "HS256", "typ": OWN_TYPE, "kid": kid_of(self.secret)}

    @property
    def claims(self) -> dict[str, Any]:
        return {
            "iss": OWN_ISSUER, "aud": OWN_AUDIENCE, "sub": self.subject, "sid": self.session_id,
            "jti": "a-token-id", "iat": self.now_s, "exp": self.now_s + 600,
        }  # fmt: skip

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def honest(self) -> str:
        return hs(self.header, self.claims, secret=self.secret)

    def foreign_claims(self, **changed: Any) -> dict[str, Any]:
        return {
            "iss": FOREIGN_ISSUER, "aud": FOREIGN_AUDIENCE, "sub": "somebody", "scope": "read",
            "iat": self.now_s, "exp": self.now_s + 600,
        } | changed  # fmt: skip

    def foreign(self, headers: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token of the other issuer, rightly signed."""
        payload = as_json(self.foreign_claims(**changed))
        return PyJWS().encode(payload, self.private, algorithm="RS256", headers=headers)

    def with_claims(self, **changed: Any) -> str:
        claims = {k: v for k, v in (self.claims | changed).items() if v is not _DROPPED}
        return hs(self.header, claims, secret=self.secret)

    def with_header(self, **changed: Any) -> str:
        header = {k: v for k, v in (self.header | changed).items() if v is not _DROPPED}
        return hs(header, self.claims, secret=self.secret)


def forged(forge: Forge) -> Iterator[tuple[str, str]]:
    """What is wrong, and the token."""
    yield from _algorithms(forge)
    yield from _headers(forge)
    yield from _claims(forge)
    yield from _times(forge)
    yield from _shapes(forge)
    yield from _foreigners(forge)


def _algorithms(forge: Forge) -> Iterator[tuple[str, str]]:
    body = f"{b64(as_json(forge.header | {'alg': 'none'}))}.{b64(as_json(forge.claims))}"
    yield "alg none, no signature", f"{body}."
    yield "alg none, a signature", f"{body}.{forge.honest().rpartition('.')[2]}"
    for name in ("none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA"):
        yield f"alg {name!r} with an HMAC", forge.with_header(alg=name)
    yield "alg missing", forge.with_header(alg=_DROPPED)
    yield "alg a number", forge.with_header(alg=256)
    yield "alg a list", forge.with_header(alg=["HS256"])
    yield "alg null", forge.with_header(alg=None)
    yield (
        "HS512 rightly computed",
        hs(forge.header | {"alg": "HS512"}, forge.claims, secret=forge.secret, hash="sha512"),
    )
    for name, secret in (
        ("an empty secret", b""),
        ("another secret", b"x" * 32),
        ("the issuer as secret", OWN_ISSUER.encode()),
        ("the hash of the secret", hashlib.sha256(forge.secret).digest()),
        ("a public key as secret", forge.public_pem),
    ):
        yield f"signed with {name}", hs(forge.header, forge.claims, secret=secret)


def _headers(forge: Forge) -> Iterator[tuple[str, str]]:
    own_jwk = {"kty": "oct", "k": b64(b"k" * 32)}
    for kid in (
        "../../../../dev/null", "/dev/null", "' or 1=1 --", "http://127.0.0.1/key", "", "é" * 10,
        "x" * 5_000, None, 7, ["a"], {"a": 1}, "\x00",
    ):  # fmt: skip
        yield f"kid {str(kid)[:20]!r}", forge.with_header(kid=kid)
    yield (
        "kid /dev/null, signed with nothing",
        hs(forge.header | {"kid": "/dev/null"}, forge.claims, secret=b""),
    )
    for name, value in (
        ("jwk", own_jwk),
        ("jku", "http://127.0.0.1/jwks.json"),
        ("x5u", "http://127.0.0.1/cert.pem"),
        ("x5c", ["MIIB"]),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("zip", "DEF"),
        ("cty", "JWT"),
    ):
        yield f"header {name}", forge.with_header(**{name: value})
    embedded = forge.header | {"jwk": own_jwk}
    yield "signed with the key in the header", hs(embedded, forge.claims, secret=b"k" * 32)
    for kind in ("JWT", "refresh+jwt", "id+jwt", "", None, 1, ["at+jwt"], _DROPPED):
        yield f"typ {kind!r}"[:30], forge.with_header(typ=kind)


def _claims(forge: Forge) -> Iterator[tuple[str, str]]:
    for name in ("iss", "aud", "sub", "sid", "jti", "iat", "exp"):
        yield f"{name} missing", forge.with_claims(**{name: _DROPPED})
        wrong: tuple[Any, ...] = (None, "", 1, [], {}, ["x"], True, "\x00", "x" * 1_000)
        for value in wrong:
            if name not in ("iat", "exp") or not isinstance(value, int) or value is True:
                yield f"{name} {value!r}"[:30], forge.with_claims(**{name: value})
    yield "iss of another", forge.with_claims(iss="https://evil.example")
    yield "iss that begins right", forge.with_claims(iss=OWN_ISSUER + ".evil")
    yield "aud of another", forge.with_claims(aud="another-api")
    yield "aud a list", forge.with_claims(aud=[OWN_AUDIENCE, "x"])
    yield "sub of another", forge.with_claims(sub="key_00000000000000000000000000")
    yield "sub that tries SQL", forge.with_claims(sub="' or true --")
    yield "sid of no session", forge.with_claims(sid="ses_00000000000000000000000000")
    yield "sid that tries SQL", forge.with_claims(sid="' or true --")
    yield "sid a surrogate", forge.with_claims(sid="\ud800")
    double = json.dumps(forge.claims)[:-1] + f', "sub": "{forge.subject}"}}'
    yield "a claim twice", hs(forge.header, double.encode(), secret=forge.secret)


def _times(forge: Forge) -> Iterator[tuple[str, str]]:
    now_s = forge.now_s
    yield "expired a second ago", forge.with_claims(exp=now_s - 1, iat=now_s - 900)
    yield "expired just now", forge.with_claims(exp=now_s, iat=now_s - 900)
    yield "issued in an hour", forge.with_claims(iat=now_s + 3_600, exp=now_s + 7_200)
    yield "valid in an hour", forge.with_claims(nbf=now_s + 3_600)
    yield "nbf a text", forge.with_claims(nbf="now")
    yield "expires before it is issued", forge.with_claims(iat=now_s + 20, exp=now_s + 10)
    for value in (-1, 1e400, float("nan"), 1e300, 10**30, str(now_s + 600), 2**63, "never", False):
        yield f"exp {value!r}", forge.with_claims(exp=value)
    yield "iat below zero", forge.with_claims(iat=-5)


def _shapes(forge: Forge) -> Iterator[tuple[str, str]]:
    honest = forge.honest()
    header, claims, signature = honest.split(".")
    yield "the signature cut", honest[:-1]
    yield "without the signature", f"{header}.{claims}."
    yield "two parts", f"{header}.{claims}"
    yield "four parts", f"{honest}.x"
    yield "five parts, as encrypted ones", f"{honest}.x.y"
    yield "only dots", ".."
    yield "padded", f"{honest}="
    yield "padded inside", f"{header}==.{claims}.{signature}"
    yield "a space inside", f"{header}. {claims}.{signature}"
    yield "a tab inside", f"{header}.\t{claims}.{signature}"
    yield "plain base64", honest.replace("-", "+").replace("_", "/") + "/"
    yield "another signature", f"{header}.{claims}.{b64(b'x' * 32)}"
    yield "the parts swapped", f"{claims}.{header}.{signature}"
    last = "A" if signature[-1] != "A" else "B"
    yield "the last bits changed", f"{header}.{claims}.{signature[:-1]}{last}"
    yield "huge", f"{header}.{'A' * 20_000}.{signature}"
    yield "a huge header", f"{'A' * 20_000}.{claims}.{signature}"
    for name, body in (
        ("a list", b"[]"),
        ("a text", b'"x"'),
        ("null", b"null"),
        ("no JSON", b"{"),
        ("no UTF-8", b"\xff\xfe"),
        ("deep", b"[" * 3_000 + b"]" * 3_000),
        ("nothing", b""),
        ("a long number", b'{"exp": ' + b"9" * 4_400 + b"}"),
    ):
        yield f"claims are {name}", hs(forge.header, body, secret=forge.secret)
        yield f"the header is {name}", hs(body, forge.claims, secret=forge.secret)


def _foreigners(forge: Forge) -> Iterator[tuple[str, str]]:
    now_s = forge.now_s
    confused = {"alg": "HS256", "typ": "JWT"}
    for pem in (forge.public_pem, forge.public_pem.strip(), forge.public_pem + b"\n"):
        yield "RS256 taken for HS256", hs(confused, forge.foreign_claims(), secret=pem)
    other = rsa.generate_private_key(65_537, 2_048)
    payload = as_json(forge.foreign_claims())
    yield "signed by another key", PyJWS().encode(payload, other, algorithm="RS256")
    yield "another RSA algorithm", PyJWS().encode(payload, forge.private, algorithm="PS256")
    yield (
        "own claims, foreign key",
        PyJWS().encode(
            as_json(forge.claims), forge.private, algorithm="RS256", headers={"kid": "x"}
        ),
    )
    own = forge.foreign_claims()
    yield "foreign claims, own secret", hs(forge.header, own, secret=forge.secret)
    yield "foreign, expired", forge.foreign(iat=now_s - 900, exp=now_s - 31)
    yield "foreign, of the future", forge.foreign(iat=now_s + 100)
    yield "foreign, for another", forge.foreign(aud=["other", "another"])
    yield "foreign, an issuer that ends in a slash", forge.foreign(iss=FOREIGN_ISSUER + "/")
    yield "foreign, an issuer in a list", forge.foreign(iss=[FOREIGN_ISSUER])
    yield "foreign, an id token", forge.foreign({"typ": "id+jwt"})
    yield "foreign, critical", forge.foreign({"crit": ["x"], "x": 1})
    without = forge.foreign_claims()
    for name in ("sub", "aud", "iat", "exp"):
        rest = as_json({k: v for k, v in without.items() if k != name})
        yield f"foreign, {name} missing", PyJWS().encode(rest, forge.private, algorithm="RS256")
