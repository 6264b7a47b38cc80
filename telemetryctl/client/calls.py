"""What the endpoint methods are made of: a path, parameters and a JSON body."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from telemetryctl.client.wire import Call, Document, Wire
from telemetryctl.failures import ConfigurationFailure

BASE = "/api/v1/telemetry"


class Calls(Wire):
    """Requests below BASE; each returns the API's JSON as it is, or raises ServerProblem."""

    def _get(self, path: str, *, params: Mapping[str, Any] | None = None) -> Document:
        return self.request(Call("GET", BASE + path, params=params)).document()

    def _post(
        self,
        path: str,
        *,
        body: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        is_idempotent: bool = True,
    ) -> Document:
        """What is not idempotent by itself gets a key by which the server does it once."""
        payload, headers = encode(body)
        if not is_idempotent:
            headers["Idempotency-Key"] = uuid4().hex
        return self.request(Call("POST", BASE + path, params, payload, headers)).document()

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Document:
        payload, headers = encode(body) if body is not None else (None, None)
        return self.request(Call(method, BASE + path, params, payload, headers)).document()


def segment(text: str) -> str:
    """Return the text as one path segment; `/` and dots-only names can't change the path."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted.strip(".") == "" else quoted


def encode(
    body: Mapping[str, Any], *, compression: str | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return the JSON bytes, compressed if asked for, and the headers that say so."""
    payload = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    headers = {"Content-Type": "application/json"}
    match compression:
        case None | "none":
            return payload, headers
        case "gzip":
            import gzip

            payload = gzip.compress(payload, compresslevel=1)
        case "zstd":
            import zstandard

            payload = zstandard.ZstdCompressor(level=1).compress(payload)
        case "lz4":
            import lz4.frame

            payload = lz4.frame.compress(payload)
        case other:
            raise ConfigurationFailure(f'"{other}" is not a compression', hint="gzip, zstd, lz4")
    return payload, {**headers, "Content-Encoding": compression}
