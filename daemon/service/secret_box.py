"""Encrypts what the database must not show, with a key that lies beside it: a dump holds no secret
of a channel."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from daemon.domain.errors import DomainError
from daemon.service.key_files import BadKeyFile, decoded, key_in

MARK_BYTES = 8
"""Every sealed text begins with so many bytes that name its key."""
_NONCE_BYTES = 12


class NoSecretKey(DomainError):
    """There is no usable [auth] secret_key, so secrets can neither be kept nor read."""

    code = "no_secret_key"


class WrongSecretKey(DomainError):
    """The secrets were encrypted with another [auth] secret_key."""

    code = "wrong_secret_key"


class SecretBox:
    """Seals and opens with one key (AES-256-GCM); without one it refuses both."""

    def __init__(self, key: bytes | None) -> None:
        self._cipher = None if key is None else AESGCM(key)
        self.mark = hashlib.sha256(b"telemetry secret_key" + (key or b"")).digest()[:MARK_BYTES]

    def seal(self, secret: Mapping[str, Any], *, about: str) -> bytes | None:
        """The encrypted values; None when there are none. They open only for the same `about`.

        Raises NoSecretKey.
        """
        if not secret:
            return None
        if self._cipher is None:
            raise NoSecretKey
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = orjson.dumps(dict(secret))
        return self.mark + nonce + self._cipher.encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes | None, *, about: str) -> dict[str, Any]:
        """The values. Raises NoSecretKey, WrongSecretKey."""
        if sealed is None:
            return {}
        if self._cipher is None:
            raise NoSecretKey
        nonce, text = (
            sealed[MARK_BYTES : MARK_BYTES + _NONCE_BYTES],
            sealed[MARK_BYTES + _NONCE_BYTES :],
        )
        try:
            plain = self._cipher.decrypt(nonce, text, about.encode())
        except (InvalidTag, ValueError) as error:
            raise WrongSecretKey from error
        found: dict[str, Any] = orjson.loads(plain)
        return found


def secret_box(text: str, *, file: Path, makes: bool = True) -> SecretBox:
    """The box of the configured key, or of the one in the file, which is made when it is missing
    unless that is not wanted.

    Raises NoSecretKey for a key that is none, and for a file that others may read. A folder that
    can't be written is told once; then there are no channels with secrets.
    """
    try:
        key = decoded(text, place="[auth] secret_key") if text else key_in(file, makes=makes)
        return SecretBox(key)
    except BadKeyFile as error:
        raise NoSecretKey(error.detail) from error
