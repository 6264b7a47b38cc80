"""Compression of answers, with zstd or gzip, whichever the client takes.

Large ones are compressed in a thread, since that takes longer than anybody else should wait;
streamed ones chunk by chunk, each of them readable at once. Small ones are not worth it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, Protocol

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.transport.origin import RawHeaders

BYTES_MIN = 1024
"""Below this an answer is as fast without."""
THREAD_BYTES = 32 * 1024
"""From here on (about a millisecond) it is done in a thread."""
GZIP_LEVEL = 6
ZSTD_LEVEL = 3
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # 16: with the gzip header (zlib.h, deflateInit2)
_VARY = (b"vary", b"Accept-Encoding")
_BODYLESS = frozenset({204, 304})
# An event stream has to arrive event by event, through whatever lies between.
_TEXTS = (b"application/json", b"application/problem+json", b"application/javascript", b"text/")
_EVENTS = b"text/event-stream"

Coding = Literal["zstd", "gzip"]


class Packer(Protocol):
    """Compresses one answer; `flush` makes all that came so far readable."""

    def add(self, data: bytes, *, is_last: bool) -> bytes: ...


class GzipPacker:
    """A gzip stream (RFC 1952)."""

    def __init__(self) -> None:
        self._packing = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def add(self, data: bytes, *, is_last: bool) -> bytes:
        flush = zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH
        return self._packing.compress(data) + self._packing.flush(flush)


class ZstdPacker:
    """One zstd frame (RFC 8878); its window is within what browsers take (RFC 9659)."""

    def __init__(self) -> None:
        self._packing = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()

    def add(self, data: bytes, *, is_last: bool) -> bytes:
        kind = zstandard.COMPRESSOBJ_FLUSH_FINISH
        if not is_last:
            kind = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return self._packing.compress(data) + self._packing.flush(kind)


def packer_of(coding: Coding) -> Packer:
    return ZstdPacker() if coding == "zstd" else GzipPacker()


def coding_of(headers: Iterable[tuple[bytes, bytes]]) -> Coding | None:
    """The coding that the client of a request likes best; None when it takes neither."""
    accepted = b",".join([value for name, value in headers if name == b"accept-encoding"])
    return _preferred(accepted) if accepted else None


def takes_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the client can read what is kept as gzip already."""
    accepted = b",".join([value for name, value in headers if name == b"accept-encoding"])
    return _weights(accepted)["gzip"] > 0


@lru_cache(maxsize=256)
def _preferred(accepted: bytes) -> Coding | None:
    """RFC 9110, 12.5.3: the highest weight wins, zstd when both have the same; 0 is a refusal."""
    found = _weights(accepted)
    best = max(found, key=lambda name: found[name])
    return best if 0 < found[best] <= 1 else None


def _weights(accepted: bytes) -> dict[Coding, float]:
    """How much the client wants each coding; 0 for what it did not name."""
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, parameters = part.partition(";")
        key, _, text = parameters.partition("=")
        try:
            weights[name.strip()] = float(text) if key.strip() == "q" else 1.0
        except ValueError:
            continue
    others = weights.get("*", 0.0)
    return {
        "zstd": weights.get("zstd", others),
        "gzip": weights.get("gzip", weights.get("x-gzip", others)),
    }


async def pack(body: bytes, headers: RawHeaders, *, wanted: RawHeaders) -> tuple[bytes, RawHeaders]:
    """A whole answer of at least BYTES_MIN as the request with the headers `wanted` takes it."""
    coding = coding_of(wanted)
    if coding is None:
        return body, [*headers, _VARY]
    body = await _pack(packer_of(coding), body, is_last=True)
    return body, _encoded(headers, coding, length=len(body))


def _encoded(headers: RawHeaders, coding: Coding, *, length: int | None) -> RawHeaders:
    """Headers of the compressed answer; without `length` it goes out in chunks."""
    kept = [pair for pair in headers if pair[0].lower() != b"content-length"]
    kept += [_VARY, (b"content-encoding", coding.encode())]
    if length is not None:
        kept.append((b"content-length", str(length).encode()))
    return kept


async def _pack(packer: Packer, data: bytes, *, is_last: bool) -> bytes:
    if len(data) < THREAD_BYTES:
        return packer.add(data, is_last=is_last)
    return await asyncio.to_thread(packer.add, data, is_last=is_last)


class Compression:
    """Compresses what its application answers, where that is allowed and worth it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Answer(send, coding_of(scope["headers"])).send)


class _Answer:
    """One answer on its way: its head waits until enough of its body says what to do with it."""

    def __init__(self, send: Send, coding: Coding | None) -> None:
        self._send = send
        self._coding = coding
        self._head: Message | None = None
        self._held = b""
        self._packer: Packer | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and is_compressible(message):
            self._head = message
            return
        if message["type"] == "http.response.body":
            if self._head is not None:
                await self._begin(self._head, message)
                return
            if self._packer is not None:
                await self._go_on(self._packer, message)
                return
        await self._send(message)

    async def _begin(self, head: Message, message: Message) -> None:
        self._held += message.get("body", b"")
        is_last = not message.get("more_body", False)
        is_small = len(self._held) < BYTES_MIN
        if is_small and not is_last:
            return
        body, self._held, self._head = self._held, b"", None
        headers: RawHeaders = [*head["headers"]]
        if not is_small and self._coding is None:
            headers.append(_VARY)
        elif not is_small and self._coding is not None:
            self._packer = packer_of(self._coding)
            body = await _pack(self._packer, body, is_last=is_last)
            headers = _encoded(headers, self._coding, length=len(body) if is_last else None)
        await self._send({**head, "headers": headers})
        await self._send({**message, "body": body})

    async def _go_on(self, packer: Packer, message: Message) -> None:
        is_last = not message.get("more_body", False)
        body = await _pack(packer, message.get("body", b""), is_last=is_last)
        await self._send({**message, "body": body})


def is_compressible(head: Message) -> bool:
    """Whether an answer that begins like this may be compressed.

    One with a strong ETag may not: it names these very bytes (RFC 9110, 8.8.1), and `If-Match`
    needs it. What has one is small.
    """
    if head["status"] in _BODYLESS:
        return False
    headers = {name.lower(): value for name, value in head.get("headers", [])}
    kind = headers.get(b"content-type", b"")
    is_text = kind.startswith(_TEXTS) and not kind.startswith(_EVENTS)
    is_exact = headers.get(b"etag", b"W/").startswith(b'"')
    return is_text and not is_exact and b"content-encoding" not in headers
