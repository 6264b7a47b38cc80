"""Request bodies: read with a bound on the wire, decompressed with an absolute bound on what comes
out."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import lz4.frame
import zstandard
from starlette.types import Receive

from daemon.domain.errors import DomainError, Malformed, TooLarge, UnsupportedEncoding

WIRE_BYTES_MAX = 4 * 2**20
DECODED_BYTES_MAX = 16 * 2**20
ZSTD_WINDOW_BYTES_MAX = 8 * 2**20
ENCODINGS = "gzip, zstd, lz4"


GONE_STATUS = 499
"""What stands in the log for an answer that nobody waited for; nginx writes it too."""


class ClientGone(DomainError):
    """The client closed the connection before its request was whole."""

    code = "client_gone"


async def read_body(receive: Receive, *, content_length: bytes | None) -> bytes:
    """The whole body as it came. Raises TooLarge over WIRE_BYTES_MAX, ClientGone."""
    if (
        content_length is not None
        and content_length.isdigit()
        and int(content_length) > WIRE_BYTES_MAX
    ):
        raise TooLarge(f"a body is at most {WIRE_BYTES_MAX} bytes on the wire")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        _check_wire(len(body))
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        _check_wire(size)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _check_wire(size: int) -> None:
    if size > WIRE_BYTES_MAX:
        raise TooLarge(f"a body is at most {WIRE_BYTES_MAX} bytes on the wire")


def decompress(body: bytes, encoding: str) -> bytes:
    """The decoded body. Raises UnsupportedEncoding, TooLarge over DECODED_BYTES_MAX, Malformed for
    broken data.

    Every member or frame is decoded; bytes after the last one are refused, never ignored.
    """
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise UnsupportedEncoding(f"Content-Encoding must be one of {ENCODINGS}", taken=ENCODINGS)
    try:
        return decode(body)
    except (zlib.error, RuntimeError, EOFError, zstandard.ZstdError) as error:
        raise Malformed(f"the body is not valid {encoding}") from error


def _check_decoded(size: int) -> None:
    if size > DECODED_BYTES_MAX:
        raise TooLarge(f"a body is at most {DECODED_BYTES_MAX} bytes after decoding")


def _gunzip(body: bytes) -> bytes:
    """All members of a gzip file (RFC 1952, section 2.2)."""
    parts: list[bytes] = []
    size = 0
    while True:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(body, DECODED_BYTES_MAX - size + 1))
        size += len(parts[-1])
        _check_decoded(size)
        if not member.eof:
            raise Malformed("the gzip body is cut off")
        body = member.unused_data
        if not body:
            return b"".join(parts)


def _unzstd(body: bytes) -> bytes:
    """All frames; the size a frame states is not trusted."""
    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX).stream_reader(
        body, read_across_frames=True
    )
    decoded = reader.read(DECODED_BYTES_MAX + 1)
    _check_decoded(len(decoded))
    if reader.read(1):
        _check_decoded(DECODED_BYTES_MAX + 1)
    _check_zstd_is_whole(body, len(decoded))
    return decoded


def _check_zstd_is_whole(body: bytes, size: int) -> None:
    """The stream reader ends silently on a cut-off frame; decoding frame by frame tells."""
    rest = body
    seen = 0
    while rest:
        frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX).decompressobj()
        seen += len(frame.decompress(rest))
        if not frame.eof:
            raise Malformed("the zstd body is cut off")
        rest = frame.unused_data
    if not body or seen != size:
        raise Malformed("the zstd body is cut off")


def _unlz4(body: bytes) -> bytes:
    """All frames of an LZ4 body."""
    parts: list[bytes] = []
    size = 0
    while True:
        frame = lz4.frame.LZ4FrameDecompressor()
        parts.append(frame.decompress(body, max_length=DECODED_BYTES_MAX - size + 1))
        size += len(parts[-1])
        _check_decoded(size)
        if not frame.eof:
            raise Malformed("the lz4 body is cut off")
        body = frame.unused_data or b""
        if not body:
            return b"".join(parts)


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
    "lz4": _unlz4,
}
