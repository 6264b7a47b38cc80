"""Keys of other issuers: read from files, each for one algorithm, and what their tokens allow."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from daemon.domain.bearer import BadToken, read
from daemon.domain.foreign import ForeignRights, foreign_principal
from daemon.service.issuers import BadIssuer, IssuerSettings, load_issuer

NOW_S = int(time.time())
ISSUER = "https://id.example.org"
RSA = rsa.generate_private_key(65_537, 2_048)
OTHER_RSA = rsa.generate_private_key(65_537, 2_048)
SHORT_RSA = rsa.generate_private_key(65_537, 1_024)
EC = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = "a secret of at least thirty-two bytes"


def pem(key: Any) -> str:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return str(public.decode())


def private_pem(key: Any) -> str:
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    made: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return made | members


def settings(
    folder: Path, text: str, *, algorithm: str, is_set: bool = False, issuer: str = ISSUER
) -> IssuerSettings:
    file = folder / "key"
    file.write_text(text)
    file.chmod(0o600)
    return IssuerSettings(
        name="id", issuer=issuer, audience="telemetry", algorithm=algorithm,
        rights=ForeignRights(), key_file=None if is_set else file,
        jwks_file=file if is_set else None,
    )  # fmt: skip


def token(key: Any, algorithm: str, **headers: Any) -> str:
    claims = {"iss": ISSUER, "aud": "telemetry", "sub": "s", "iat": NOW_S, "exp": NOW_S + 60}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS384"), (EC, "ES256"), (EC_384, "ES384"), (ED, "EdDSA")],
)
def test_a_public_key_of_a_file_verifies(tmp_path: Path, key: Any, algorithm: str) -> None:
    issuer = load_issuer(settings(tmp_path, pem(key), algorithm=algorithm))

    claims = read(token(key, algorithm), issuers={ISSUER: issuer}, now_s=NOW_S)

    assert claims.subject == "s"


def test_a_secret_of_a_file_verifies(tmp_path: Path) -> None:
    issuer = load_issuer(settings(tmp_path, SECRET + "\n", algorithm="HS256"))

    assert read(token(SECRET, "HS256"), issuers={ISSUER: issuer}, now_s=NOW_S)


def test_a_set_verifies_by_the_name_of_the_key_and_by_nothing_else(tmp_path: Path) -> None:
    keys = [
        jwk(RSA, kid="one", use="sig"),
        jwk(OTHER_RSA, kid="two", alg="RS256"),
        jwk(EC, kid="three"),
        jwk(SHORT_RSA, kid="four", use="enc"),
        jwk(OTHER_RSA, kid="five", alg="RS512"),
    ]
    issuer = load_issuer(
        settings(tmp_path, json.dumps({"keys": keys}), algorithm="RS256", is_set=True)
    )
    known = {ISSUER: issuer}

    assert set(issuer.keys) == {"one", "two"}
    assert read(token(RSA, "RS256", kid="one"), issuers=known, now_s=NOW_S)
    assert read(token(OTHER_RSA, "RS256", kid="two"), issuers=known, now_s=NOW_S)
    for wrong in (
        token(RSA, "RS256", kid="two"),
        token(RSA, "RS256", kid="three"),
        token(RSA, "RS256", kid="five"),
        token(RSA, "RS256"),
        token(EC, "ES256", kid="three"),
    ):
        with pytest.raises(BadToken):
            read(wrong, issuers=known, now_s=NOW_S)


@pytest.mark.parametrize(
    ("text", "algorithm", "is_set"),
    [
        ("", "RS256", False),
        ("not a key", "RS256", False),
        (pem(EC), "RS256", False),
        (pem(RSA), "ES256", False),
        (pem(EC_384), "ES256", False),
        (pem(SHORT_RSA), "RS256", False),
        (pem(RSA), "HS256", False),
        ("too short", "HS256", False),
        (private_pem(RSA), "RS256", False),
        ("{", "RS256", True),
        ("[]", "RS256", True),
        ("{}", "RS256", True),
        ('{"keys": []}', "RS256", True),
        ('{"keys": [1]}', "RS256", True),
        (json.dumps({"keys": [jwk(EC, kid="x")]}), "RS256", True),
        (json.dumps({"keys": [jwk(RSA, kid="x"), jwk(OTHER_RSA, kid="x")]}), "RS256", True),
        (json.dumps({"keys": [jwk(SHORT_RSA, kid="x")]}), "RS256", True),
    ],
)
def test_a_file_that_can_not_be_used_refuses_the_start_and_shows_nothing_of_it(
    tmp_path: Path, text: str, algorithm: str, is_set: bool
) -> None:
    with pytest.raises(BadIssuer) as refused:
        load_issuer(settings(tmp_path, text, algorithm=algorithm, is_set=is_set))

    assert len(text) < 20 or text[:20] not in refused.value.detail


def test_a_missing_file_and_our_own_name_refuse_the_start(tmp_path: Path) -> None:
    wanted = settings(tmp_path, pem(RSA), algorithm="RS256", issuer="telemetryctl")
    with pytest.raises(BadIssuer):
        load_issuer(wanted)
    (tmp_path / "key").unlink()
    with pytest.raises(BadIssuer):
        load_issuer(replace(wanted, issuer=ISSUER))
    with pytest.raises(BadIssuer):
        load_issuer(replace(wanted, issuer=ISSUER, jwks_file=tmp_path / "key"))


@pytest.mark.parametrize(
    ("value", "known", "scopes"),
    [
        ("read export", {}, {"read", "export"}),
        (["read", 1, None, "nothing"], {}, {"read"}),
        ("admin keys read", {}, {"read"}),
        ("boss", {"boss": ["admin"]}, {"admin"}),
        ("read", {"boss": ["admin"]}, set()),
        (None, {}, set()),
        ({"read": True}, {}, set()),
        (7, {}, set()),
    ],
)
def test_claims_become_scopes_as_the_settings_say(
    value: object, known: dict[str, list[str]], scopes: set[str]
) -> None:
    rights = ForeignRights(scopes=known, tier="pro", devices=("bus-*",))

    who = foreign_principal({"sub": "s", "scope": value}, rights, issuer="id", expires_s=1.0)

    assert who.scopes == scopes
    assert (who.key_id, who.tier, who.devices) == ("id:s", "pro", ("bus-*",))
    assert who.is_foreign
