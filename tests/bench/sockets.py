"""Subscribers of the streams' figures: raw sockets that shake hands and count frames.

A frame is looked into only for what is measured: its kind, the stamps of its points (their values),
and its cursor. Connections are many, so nothing is kept for a frame.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VALUE = re.compile(rb'"value":([0-9.]+)')
CURSOR = re.compile(rb'"cursor":"([^"]+)"')
UPDATE = b'{"type":"update"'
SLOW_RECEIVE_BYTES = 4096
SAMPLE_EVERY = 64
"""Points are counted in every so many'th frame: looking into each would slow the clients."""
HEAD_BYTES = 160
"""Enough of a frame to hold its cursor."""
ESTABLISHED = "01"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_HANDSHAKE_END = b"\r\n\r\n"


@dataclass
class Tally:
    """What all connections of a process saw since `start_s`; stamps are in seconds, `sampled` are
    points."""

    start_s: float = float("inf")
    end_s: float = float("inf")
    wants_stamps: bool = False
    frames: int = 0
    sampled: int = 0
    size: int = 0
    stamps: array[float] = field(default_factory=lambda: array("d"))
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    seen: dict[str, int] = field(default_factory=dict)


class Subscriber(asyncio.Protocol):
    """One connection; `ready` is done with its `subscribed` frame, or its handshake if it asks for
    nothing."""

    def __init__(self, tally: Tally, hello: bytes, subscribe: dict[str, Any] | None) -> None:
        self.tally = tally
        self.hello = hello
        self.subscribe = subscribe
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told_cursor = ""
        self.newest = b""
        self.is_recovered = False
        self.kinds: list[str] = []
        self.close_code = 0
        self.is_lost = False
        self._rest = b""
        self._is_open = False

    @property
    def is_ready(self) -> bool:
        return self.ready.done() and not self.ready.cancelled() and not self.ready.exception()

    @property
    def cursor(self) -> str:
        """That of the newest frame."""
        found = CURSOR.search(self.newest)
        return found[1].decode() if found else self.told_cursor

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.hello)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_lost = True
        if not self.ready.done():
            self.ready.set_exception(RuntimeError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._is_open:
            data = self._shake_hands(data)
        at, size = 0, len(data)
        while size - at >= 2:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            end = at + head + length
            if end > size or size - at < head:
                break
            self._on_frame(data, at + head, end, data[at] & 0xF)
            at = end
        self._rest = data[at:]

    def _shake_hands(self, data: bytes) -> bytes:
        """What follows the handshake's answer."""
        end = data.find(_HANDSHAKE_END)
        if end < 0:
            self._rest = data
            return b""
        if not data.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no handshake: {data[:400]!r}")
        self._is_open = True
        if self.subscribe is None:
            self.ready.set_result(None)
        else:
            self.say(self.subscribe)
        return data[end + 4 :]

    def say(self, action: dict[str, Any]) -> None:
        """A masked text frame (RFC 6455, section 5.3); a mask of zeros changes nothing."""
        self._write(TEXT, json.dumps(action).encode())

    def _write(self, opcode: int, body: bytes) -> None:
        size = len(body)
        head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else (
            struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        )  # fmt: skip
        self.transport.write(head + b"\0\0\0\0" + body)

    def _on_frame(self, data: bytes, begin: int, end: int, opcode: int) -> None:
        if opcode == TEXT and data.startswith(UPDATE, begin):
            self._on_update(data, begin, end)
        elif opcode == TEXT:
            self._on_told(data[begin:end])
        elif opcode == PING:
            self._write(PONG, data[begin:end])
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(data[begin : begin + 2], "big")

    def _on_update(self, data: bytes, begin: int, end: int) -> None:
        tally = self.tally
        now_s = time.perf_counter()
        self.newest = data[begin : begin + HEAD_BYTES]
        if not tally.start_s <= now_s < tally.end_s:
            return
        tally.frames += 1
        if tally.frames % SAMPLE_EVERY == 0:
            tally.sampled += data.count(b'"value"', begin, end)
        tally.size += end - begin
        if tally.wants_stamps:
            for value in VALUE.findall(data, begin, end):
                tally.stamps.append(float(value))
                tally.arrivals.append(now_s)

    def _on_told(self, body: bytes) -> None:
        """A frame that is not an update: seldom, so it is read."""
        found = json.loads(body)
        kind = found["type"]
        self.kinds.append(kind)
        self.tally.seen[kind] = self.tally.seen.get(kind, 0) + 1
        self.told_cursor = found.get("cursor") or self.told_cursor
        self.newest = b""
        if kind == "subscribed" and not self.ready.done():
            self.is_recovered = bool(found["data"].get("recovered"))
            self.ready.set_result(None)
        elif kind == "error" and not self.ready.done():
            self.ready.set_exception(RuntimeError(f"refused: {body[:400]!r}"))


def hello(path: str, *, port: int, token: str) -> bytes:
    """The opening handshake (RFC 6455, section 4.1)."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
        "Connection: Upgrade", f"Sec-WebSocket-Key: {_KEY}", "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


async def connect(subscriber: Subscriber, *, port: int, source: str, is_slow: bool) -> None:
    """Connect from an address of this host; a slow one takes next to nothing into its kernel."""
    loop = asyncio.get_running_loop()
    plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plain.setblocking(False)
    if is_slow:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RECEIVE_BYTES)
    plain.bind((source, 0))
    await loop.sock_connect(plain, ("127.0.0.1", port))
    await loop.create_connection(lambda: subscriber, sock=plain)
    await subscriber.ready


def established(port: int, source: str) -> list[int]:
    """Unsent bytes of each connection that the server on this port has open to an address (proc(5),
    /proc/net/tcp)."""
    at, peer = f":{port:04X}", socket.inet_aton(source)[::-1].hex().upper() + ":"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        int(line[4].split(":")[0], 16)
        for line in lines
        if line[1].endswith(at) and line[2].startswith(peer) and line[3] == ESTABLISHED
    ]
