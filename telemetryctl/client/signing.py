"""Signs requests (RFC 9421) with the private half of a key's signing key.

cryptography and the library are the extra `sign`; they are loaded when something is signed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telemetryctl.failures import ConfigurationFailure

if TYPE_CHECKING:
    from telemetryctl.client.lean import httpx

KEY_BYTES_MAX = 16 * 1024
# Beside method, path, query and body: what changes the meaning of a request.
_MEANINGFUL = ("content-encoding", "idempotency-key", "if-match")
_LABEL = "telemetryctl"


@dataclass(frozen=True, slots=True)
class Signer:
    """One for each command: the id of the API key, and the Ed25519 key that its holder keeps."""

    key_id: str
    private_key: Any = field(repr=False)

    def sign(self, request: httpx.Request) -> None:
        """Put the signature, and the digest of a body, into the request's header."""
        from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

        covered = ["@method", "@path"]
        if request.url.query:
            covered.append("@query")
        covered += [name for name in _MEANINGFUL if name in request.headers]
        signer = HTTPMessageSigner(
            signature_algorithm=algorithms.ED25519,
            key_resolver=MappingKeyResolver(
                public_keys={}, private_keys={self.key_id: self.private_key}
            ),
        )
        signer.sign(
            request,
            key_id=self.key_id,
            label=_LABEL,
            covered_component_ids=covered,
            body=request.content or None,
        )


def signer_of(file: Path, *, key_id: str) -> Signer:
    """The signer of this private key: PEM (PKCS #8), Ed25519, readable by its owner only.

    Raises ConfigurationFailure, which never quotes the file.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise _not_installed() from error
    text = _read(file)
    found: object = None
    # The text of an error could quote what the file holds.
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        found = load_pem_private_key(text, password=None)
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigurationFailure(
            f"the signing key {file} is no Ed25519 private key without a passphrase",
            hint="openssl genpkey -algorithm ed25519 -out FILE",
        )
    _check_installed()
    return Signer(key_id, found)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise ConfigurationFailure(
                    f"the signing key {file} may be read by others", hint=f"chmod 600 {file}"
                )
            return opened.read(KEY_BYTES_MAX)
    except OSError as error:
        raise ConfigurationFailure(
            f"the signing key {file} can't be read: {error.strerror}"
        ) from error


def _check_installed() -> None:
    try:
        import http_message_signatures  # noqa: F401 - whether it is there
    except ImportError as error:
        raise _not_installed() from error


def _not_installed() -> ConfigurationFailure:
    return ConfigurationFailure(
        "requests can't be signed: the extra `sign` is not installed",
        hint="pip install 'telemetryctl[sign]'",
    )


def read_public_key(file: Path) -> str:
    """The text of a public key for the server. Raises ConfigurationFailure for a private one."""
    try:
        with file.open("rb") as opened:
            text = opened.read(KEY_BYTES_MAX).decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise ConfigurationFailure(
            f"the public key {file} can't be read: {error.strerror}"
        ) from error
    if "PRIVATE KEY" in text:
        raise ConfigurationFailure(
            f"{file} is the private key, which stays here; the server gets the public one",
            hint=f"openssl pkey -in {file} -pubout -out {file}.pub",
        )
    if not text:
        raise ConfigurationFailure(f"{file} holds no public key", hint="PEM, or base64")
    return text
