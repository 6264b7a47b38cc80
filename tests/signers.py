"""Signing requests by hand, from the text of RFC 9421: nothing of the library that checks them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass
class HandSigner:
    """Who signs for a key; the private key is made here."""

    key_id: str = ""
    private_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_bytes(self) -> bytes:
        return self.private_key.public_key().public_bytes_raw()

    @property
    def public_text(self) -> str:
        """As `signing_key` of a new key."""
        return base64.b64encode(self.public_bytes).decode()

    @property
    def public_pem(self) -> str:
        key = self.private_key.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_pem(self) -> bytes:
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def fields(
        self, values: Mapping[str, str], *, created: int, more: str = "", label: str = "sig1"
    ) -> dict[str, str]:
        """The two fields over these components, in their order (RFC 9421, section 2.5)."""
        covered = " ".join(f'"{name}"' for name in values)
        parameters = f'({covered});created={created};keyid="{self.key_id}"{more}'
        lines = [f'"{name}": {value}' for name, value in values.items()]
        base = "\n".join([*lines, f'"@signature-params": {parameters}'])
        signature = base64.b64encode(self.private_key.sign(base.encode())).decode()
        return {"signature-input": f"{label}={parameters}", "signature": f"{label}=:{signature}:"}

    def sign(self, request: httpx.Request, *, created: float, **options: Any) -> httpx.Request:
        """Sign what the daemon asks for, on the request itself."""
        more = self.headers(
            request.method, str(request.url), body=request.read(), created=created,
            fields=dict(request.headers), **options,
        )  # fmt: skip
        request.headers.update(more)
        return request

    def headers(
        self, method: str, url: str, *, created: float, body: bytes = b"",
        fields: Mapping[str, str] | None = None, **options: Any,
    ) -> dict[str, str]:  # fmt: skip
        """What a request needs beside its bearer."""
        parts, made = urlsplit(url), {}
        values = {"@method": method, "@path": parts.path}
        if parts.query:
            values["@query"] = f"?{parts.query}"
        if body:
            made["content-digest"] = values["content-digest"] = digest_of(body)
        for name in ("idempotency-key", "if-match"):
            if name in (fields or {}):
                values[name] = (fields or {})[name]
        return made | self.fields(values, created=int(created), **options)


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """A Content-Digest (RFC 9530, section 2)."""
    digest = base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    return f"{algorithm.replace('sha', 'sha-')}=:{digest}:"
