"""Encrypts what the database must not show, with a key that lies beside it: a dump holds no secret
of a channel."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from daemon.domain.errors import DomainError
from daemon.log import get_logger

KEY_BYTES = 32
MARK_BYTES = 8
"""Every sealed text begins with so many bytes that name its key."""
_NONCE_BYTES = 12

log = get_logger()


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


def secret_box(text: str, *, file: Path) -> SecretBox:
    """The box of the configured key, or of the one in the file, which is made when it is missing.

    Raises NoSecretKey for a key that is none, and for a file that others may read. A folder that
    can't be written is told once; then there are no channels with secrets.
    """
    if text:
        return SecretBox(_key(text, place="[auth] secret_key"))
    try:
        if not file.exists():
            _make(file)
        if file.stat().st_mode & 0o077:
            raise NoSecretKey(f"{file} may be read by others; it is to have mode 0600")
        return SecretBox(_key(file.read_text().strip(), place=str(file)))
    except OSError as error:
        log.warning("secret_key_not_kept", file=str(file), reason=error.strerror)
        return SecretBox(None)


def _key(text: str, *, place: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoSecretKey(f"{place} is not base64") from error
    if len(key) != KEY_BYTES:
        raise NoSecretKey(f"{place} is not {KEY_BYTES} bytes in base64")
    return key


def _make(file: Path) -> None:
    """Write a new key, whole or not at all; who comes second takes the first one's."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):
            os.link(mine, file)
            log.info("secret_key_made", file=str(file))
    finally:
        mine.unlink(missing_ok=True)
