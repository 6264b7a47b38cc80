"""Clients of the streams: the real `websockets` library, server-sent events by httpx, and a raw
socket that may send anything."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from daemons import API, DaemonProcess
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
STREAM = API + "/stream"
WAIT_S = 40.0
"""For what has to happen in the end; it costs nothing where all is well."""


def ws_url(daemon: DaemonProcess, path: str = "/ws") -> str:
    return daemon.url.replace("http", "ws", 1) + path


@asynccontextmanager
async def a_socket(
    daemon: DaemonProcess, path: str = "/ws", *, key: str | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """Connected with the admin key, or another one; an empty one is not sent."""
    token = daemon.key if key is None else key
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    options = {"compression": None, "open_timeout": WAIT_S} | options
    async with connect(ws_url(daemon, path), additional_headers=headers, **options) as socket:
        yield socket


async def frame_of(socket: ClientConnection, *kinds: str, within_s: float = WAIT_S) -> Frame:
    """The next frame, or the next of these kinds."""
    async with asyncio.timeout(within_s):
        while True:
            frame: Frame = json.loads(await socket.recv())
            if not kinds or frame["type"] in kinds:
                return frame


async def say(socket: ClientConnection, action: str, **members: Any) -> None:
    await socket.send(json.dumps({"action": action, **members}))


async def subscribed(socket: ClientConnection, **wanted: Any) -> Frame:
    """Subscribe in-band, and what was answered."""
    await say(socket, "subscribe", **wanted)
    return await frame_of(socket, "subscribed", "error")


async def points_of(
    socket: ClientConnection, count: int, *, within_s: float = WAIT_S
) -> list[dict[str, Any]]:
    """At least `count` points, as far as their frames go."""
    points: list[dict[str, Any]] = []
    async with asyncio.timeout(within_s):
        while len(points) < count:
            frame = await frame_of(socket, "update", within_s=within_s)
            points += frame["data"].get("data_points", [])
    return points


async def close_code(
    socket: ClientConnection, *, within_s: float = WAIT_S
) -> tuple[int | None, list[Frame]]:
    """The code that the server closes with, and the frames before it."""
    frames: list[Frame] = []
    try:
        async with asyncio.timeout(within_s):
            while True:
                frames.append(json.loads(await socket.recv()))
    except ConnectionClosed as closed:
        return (closed.rcvd.code if closed.rcvd else None), frames


async def streams_open(daemon: DaemonProcess) -> int:
    """How many connections its hub has."""
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        health = (await http.get(daemon.url + "/health/detailed")).json()
    return int(next(v["connections"] for v in _sections(health) if "connections" in v))


def _sections(node: object) -> list[dict[str, int]]:
    if not isinstance(node, dict):
        return []
    return [node, *(found for value in node.values() for found in _sections(value))]


async def none_is_open(daemon: DaemonProcess) -> None:
    """Until those that were closed are forgotten: a client hears of its end before that."""
    async with asyncio.timeout(WAIT_S):
        while await streams_open(daemon):
            await asyncio.sleep(0.05)


def connections_of(daemon: DaemonProcess) -> int:
    """Its TCP connections; those to the database, which come and go, are none."""
    found = psutil.Process(daemon.process.pid).net_connections("tcp")
    return sum(one.status != psutil.CONN_LISTEN for one in found)


def a_point(value: float = 1, *, metric: str = "m", **more: Any) -> dict[str, Any]:
    return {"timestamp": time.time(), "metric_name": metric, "value": value, **more}


async def write(daemon: DaemonProcess, device: str, *values: float, **more: Any) -> None:
    """Store values one request each."""
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=30) as http:
        for value in values:
            answer = await http.post(f"/devices/{device}/telemetry", json=a_point(value, **more))
            assert answer.status_code == 200, answer.text


class Events:
    """Server-sent events as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, *kinds: str, within_s: float = WAIT_S) -> tuple[str, str, Frame]:
        """(event, id, data) of the next one, or the next of these kinds."""
        async with asyncio.timeout(within_s):
            while True:
                event, place, data = await self._one()
                if data and (not kinds or event in kinds):
                    return event, place, json.loads(data)

    async def _one(self) -> tuple[str, str, str]:
        found = {"event": "", "id": "", "data": ""}
        async for line in self._lines:
            if not line:
                break
            name, _, value = line.partition(": ")
            found[name] = value
        else:
            raise EOFError
        return found["event"], found["id"], found["data"]


@asynccontextmanager
async def events(
    daemon: DaemonProcess, path: str = "/telemetry", *, key: str | None = None, **options: Any
) -> AsyncIterator[Events]:
    """An open answer of `/stream…`."""
    token = daemon.key if key is None else key
    headers = {"Accept": "text/event-stream"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("GET", daemon.url + STREAM + path, headers=headers, **options) as response,
    ):
        yield Events(response)


class RawSocket:
    """A WebSocket made by hand: bytes go out as they are given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        if not self.writer.transport.is_closing():
            self.writer.write(data)

    def close(self) -> None:
        self.writer.transport.abort()

    async def until_closed(self, *, within_s: float = WAIT_S) -> int | None:
        """Read to the end; the code of the close frame, None without one."""
        code: int | None = None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    opcode, payload = await self._frame()
                    if opcode == 8 and len(payload) >= 2:
                        code = struct.unpack("!H", payload[:2])[0]
        except (asyncio.IncompleteReadError, ConnectionError):
            return code

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        length = second & 127
        if length == 126:
            length = struct.unpack("!H", await self.reader.readexactly(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", await self.reader.readexactly(8))[0]
        return first & 15, await self.reader.readexactly(length)


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as clients send them (RFC 6455, section 5.2)."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    first = bytes(((fin << 7) | (rsv << 4) | opcode,))
    n = len(payload)
    if n < 126:
        return first + bytes((128 | n,)) + mask + body
    if n < 65_536:
        return first + bytes((128 | 126,)) + struct.pack("!H", n) + mask + body
    return first + bytes((128 | 127,)) + struct.pack("!Q", n) + mask + body


async def a_raw_socket(
    daemon: DaemonProcess, path: str = "/ws", *, early: bytes = b"", **options: Any
) -> RawSocket:
    """Upgraded by hand; `early` goes out with the handshake."""
    where = urlsplit(daemon.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, **options)
    writer.write(handshake(daemon, path) + early)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    return RawSocket(reader, writer)


def handshake(daemon: DaemonProcess, path: str = "/ws", *more: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {urlsplit(daemon.url).netloc}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        f"Authorization: Bearer {daemon.key}", *more,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
