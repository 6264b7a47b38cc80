"""Other issuers whose tokens are accepted: their keys from a file, each for one algorithm."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwt import PyJWK, PyJWTError
from jwt.algorithms import get_default_algorithms

from daemon.domain.bearer import OWN_ISSUER, Issuer, VerifyingKey
from daemon.domain.errors import DomainError
from daemon.domain.foreign import ForeignRights
from daemon.service.key_files import refuse_open

FILE_BYTES_MAX = 1 << 20
KEYS_MAX = 100


class BadIssuer(DomainError):
    """An issuer of [auth] can't be used."""

    code = "bad_issuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One issuer as it is configured; exactly one of the files is given."""

    name: str
    issuer: str
    audience: str
    algorithm: str
    rights: ForeignRights
    key_file: Path | None = None
    jwks_file: Path | None = None


def load_issuer(wanted: IssuerSettings) -> Issuer:
    """The issuer with its keys. Raises BadIssuer with the reason, which holds nothing of a key,
    and BadKeyFile for a secret that others may read."""
    if wanted.issuer == OWN_ISSUER:
        raise BadIssuer(f"{OWN_ISSUER} is the name of this daemon itself")
    if (wanted.key_file is None) == (wanted.jwks_file is None):
        raise BadIssuer(f"issuer {wanted.name} needs key_file or jwks_file, one of them")
    file = wanted.key_file or wanted.jwks_file
    assert file is not None
    try:
        if wanted.algorithm.startswith("HS"):
            # Who knows it makes tokens, unlike with the public key of other algorithms.
            refuse_open(file)
        text = _text(file)
        keys: dict[str | None, VerifyingKey] = {}
        if wanted.key_file is not None:
            keys[None] = _one(text, wanted.algorithm)
        else:
            keys = _set(text, wanted.algorithm)
    except OSError as error:
        raise BadIssuer(f"{file}: {error.strerror}") from error
    except (PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadIssuer(f"{file} holds no key for {wanted.algorithm}") from error
    if not keys:
        raise BadIssuer(f"{file} holds no key for {wanted.algorithm}")
    return Issuer(wanted.name, wanted.issuer, wanted.audience, keys, wanted.rights)


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(FILE_BYTES_MAX).decode("utf-8")


def _one(text: str, algorithm: str) -> VerifyingKey:
    """The key of a PEM file, or the secret of an algorithm with one."""
    if "PRIVATE KEY" in text:
        raise ValueError("a private key does not belong here")
    prepared = get_default_algorithms()[algorithm].prepare_key(text.strip())
    return _long_enough(prepared, algorithm)


def _set(text: str, algorithm: str) -> dict[str | None, VerifyingKey]:
    """The keys of a JSON Web Key Set that are for this algorithm (RFC 7517, section 5)."""
    found: dict[str | None, VerifyingKey] = {}
    for described in json.loads(text)["keys"][:KEYS_MAX]:
        if not _is_for(described, algorithm):
            continue
        kid = described.get("kid")
        if kid in found or not isinstance(kid, str | None):
            raise ValueError("two keys of one name")
        found[kid] = _long_enough(PyJWK(described, algorithm=algorithm).key, algorithm)
    return found


def _is_for(described: Any, algorithm: str) -> bool:
    kinds = {"HS": "oct", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    return (
        isinstance(described, dict)
        and described.get("kty") == kinds[algorithm[:2]]
        and described.get("alg", algorithm) == algorithm
        and described.get("use", "sig") == "sig"
    )


def _long_enough(key: Any, algorithm: str) -> VerifyingKey:
    if get_default_algorithms()[algorithm].check_key_length(key):
        raise ValueError("the key is too short")
    return VerifyingKey(key, algorithm)
