"""One stream message as bytes, framed once for all who get it. Who gets it is decided in
live/hub."""

from __future__ import annotations

from typing import Any

import orjson

from daemon.domain.cursors import Cursor

_TEXT_FRAME = 0x81
_SSE_NAMES = {"ping": b"heartbeat"}


class Message:
    """`body` is the JSON text; `cursor` is what a reader continues from after this message.

    An empty cursor says nothing new about the reader's place.
    """

    __slots__ = ("_sse", "_websocket", "body", "cursor", "kind")

    def __init__(self, kind: str, *, cursor: str, body: bytes) -> None:
        self.kind = kind
        self.cursor = cursor
        self.body = body
        self._websocket: bytes | None = None
        self._sse: bytes | None = None

    @property
    def websocket(self) -> bytes:
        """An unmasked text frame (RFC 6455, section 5.2)."""
        framed = self._websocket
        if framed is None:
            framed = self._websocket = websocket_frame(self.body)
        return framed

    @property
    def sse(self) -> bytes:
        """A server-sent event (HTML Living Standard, section 9.2); JSON has no line breaks.

        A welcome has no id: a browser that is cut off behind it would go on from there, and miss
        what it had asked for.
        """
        framed = self._sse
        if framed is None:
            name = _SSE_NAMES.get(self.kind) or self.kind.encode()
            is_place = self.cursor and self.kind != "welcome"
            place = b"id: " + self.cursor.encode() + b"\n" if is_place else b""
            framed = b"event: " + name + b"\n" + place + b"data: " + self.body + b"\n\n"
            self._sse = framed
        return framed


def websocket_frame(body: bytes) -> bytes:
    """One unfragmented text frame from the server."""
    n = len(body)
    if n < 126:
        return bytes((_TEXT_FRAME, n)) + body
    if n < 65_536:
        return bytes((_TEXT_FRAME, 126)) + n.to_bytes(2, "big") + body
    return bytes((_TEXT_FRAME, 127)) + n.to_bytes(8, "big") + body


class Opening:
    """What a message begins with: many have the same (contract 8, envelope)."""

    __slots__ = ("_cursor", "_head", "_kind")

    def __init__(self, kind: str, *, timestamp: str, cursor: Cursor | None) -> None:
        self._kind = kind
        self._cursor = place = "" if cursor is None else str(cursor)
        said = f'","cursor":"{place}' if place else ""
        member = "error" if kind == "error" else "data"
        head = f'{{"type":"{kind}","timestamp":"{timestamp}{said}","{member}":'
        self._head = head.encode()

    def message(self, data: bytes) -> Message:
        """`data` is JSON text; of an error it is the error."""
        return Message(self._kind, cursor=self._cursor, body=self._head + data + b"}")


def frame(kind: str, *, timestamp: str, cursor: Cursor | None, data: bytes) -> Message:
    """A message of the envelope."""
    return Opening(kind, timestamp=timestamp, cursor=cursor).message(data)


def told(kind: str, *, timestamp: str, cursor: Cursor | None, data: dict[str, Any]) -> Message:
    """The same of a dictionary."""
    return frame(kind, timestamp=timestamp, cursor=cursor, data=orjson.dumps(data))
