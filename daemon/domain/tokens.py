"""The text of an API key (contract 9.1), `tlm_<env>_<id>_<secret>_<crc>`, and what is stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

from daemon.domain.ids import crockford

TOKEN_CHARACTERS_MAX = 128
SECRET_BITS = 256
_TOKEN = re.compile(r"(tlm_([a-z0-9]{1,16})_([0-9a-z]{26})_[0-9a-z]{52})_([0-9a-f]{8})")


def new_token(key_id: str, *, env: str) -> str:
    """A key with a fresh secret of 256 random bits.

    The checksum makes a mistyped one cost no query.
    """
    public_id = key_id.removeprefix("key_")
    body = f"tlm_{env}_{public_id}_{crockford(secrets.randbits(SECRET_BITS), digits=52)}"
    return f"{body}_{_checksum(body)}"


def key_id_of(token: str) -> str | None:
    """The id of the key, or None when the text can't be a key."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        return None
    found = _TOKEN.fullmatch(token)
    if found is None or _checksum(found[1]) != found[4]:
        return None
    return f"key_{found[3]}"


def digest_of(token: str) -> bytes:
    """What is stored of a key. A plain hash is enough for 256 random bits (design 8)."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
