"""The protocol class on a real socket: an application of three lines, a client made by hand."""

from __future__ import annotations

import asyncio
import gc
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from stream_clients import RawSocket, masked

from daemon.live.message import Message
from daemon.transport import websocket as module
from daemon.transport.server import Server, bind, make_server
from daemon.transport.websocket import HIGH_WATER_BYTES, OUTLET, WebSocketProtocol

pytestmark = pytest.mark.anyio
TEXT, CLOSE, PING = 1, 8, 9
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass
class Site:
    """A server whose application accepts, and keeps what it is told."""

    port: int = 0
    server: Server | None = None
    outlets: list[WebSocketProtocol] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    accept_after: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.accept_after.wait()
        self.outlets.append(scope["extensions"][OUTLET])
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            self.said.append(message)
            if message["type"] == "websocket.disconnect":
                return

    async def open(self, *, early: bytes = b"", receive_bytes: int = 0) -> RawSocket:
        plain = sockets.socket()
        if receive_bytes:
            plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1_024)
        writer.write(HANDSHAKE)
        if early:
            await asyncio.sleep(0.05)
            writer.write(early)
        return RawSocket(reader, writer)

    async def opened(self, **options: Any) -> tuple[RawSocket, WebSocketProtocol]:
        raw = await self.open(**options)
        await raw.reader.readuntil(b"\r\n\r\n")
        return raw, self.outlets[-1]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site() as running:
        yield running


@asynccontextmanager
async def a_site() -> AsyncIterator[Site]:
    site = Site()
    site.accept_after.set()
    bound = bind("127.0.0.1", 0)
    site.port = bound.getsockname()[1]
    site.server = server = make_server(site.app, drain_timeout_s=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[bound]))
        await until(lambda: server.started)
        yield site
        server.should_exit = True
    bound.close()


async def until(condition: Callable[[], object], *, within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def a_message(size_bytes: int = 1_000, kind: str = "update") -> Message:
    return Message(kind, cursor="e-1", body=b"x" * size_bytes)


async def test_a_message_goes_out_as_one_frame(site: Site) -> None:
    raw, outlet = await site.opened()
    for size in (0, 125, 126, 65_535, 65_536):
        outlet.write(a_message(size))
        head = await raw.reader.readexactly(2)
        extra = {126: 2, 127: 8}.get(head[1], 0)
        length = int.from_bytes(await raw.reader.readexactly(extra), "big") if extra else head[1]
        assert (head[0], length) == (0x81, size)
        assert await raw.reader.readexactly(size) == b"x" * size
    raw.close()


async def test_a_heartbeat_is_a_ping_too(site: Site) -> None:
    raw, outlet = await site.opened()
    outlet.write(a_message(2, kind="ping"))

    assert await raw.reader.readexactly(6) == b"\x89\x00\x81\x02xx"
    raw.close()


async def test_a_socket_that_does_not_read_is_unclear_until_it_does(site: Site) -> None:
    raw, outlet = await site.opened(receive_bytes=4_096)
    cleared: list[bool] = []
    outlet.on_clear = lambda: cleared.append(outlet.is_clear)
    written = 0
    while outlet.is_clear:
        outlet.write(a_message(10_000))
        written += 1
        await asyncio.sleep(0.005)
    assert outlet.transport.get_write_buffer_size() <= HIGH_WATER_BYTES + 11_000
    await asyncio.sleep(0.1)
    assert cleared == []
    for _ in range(written):
        await raw.reader.readexactly(10_004)
    await until(lambda: cleared)

    assert cleared[-1] is True
    assert outlet.is_clear
    raw.close()


async def test_much_at_once_to_a_reader_is_clear_again_without_a_pause(site: Site) -> None:
    raw, outlet = await site.opened()
    cleared: list[bool] = []
    outlet.on_clear = lambda: cleared.append(True)
    outlet.write(a_message(HIGH_WATER_BYTES + 1))
    was_clear = outlet.is_clear
    await raw.reader.readexactly(HIGH_WATER_BYTES + 5)
    if not was_clear:
        await until(lambda: cleared)

    assert outlet.is_clear
    raw.close()


async def test_a_close_that_nobody_takes_is_a_cut(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ABORT_AFTER_S", 0.2)
    raw, outlet = await site.opened(receive_bytes=4_096)
    while outlet.is_clear:
        outlet.write(a_message(10_000))
        await asyncio.sleep(0.005)
    outlet.close(4008, "too slow")
    outlet.close(1012, "again")
    outlet.write(a_message())
    await until(lambda: outlet.disconnected)
    await until(lambda: site.said)

    assert outlet.close_code == 4008
    assert site.said == [{"type": "websocket.disconnect", "code": 4008, "reason": "too slow"}]
    raw.close()


async def test_a_close_is_answered_and_over(site: Site) -> None:
    raw, outlet = await site.opened()
    outlet.close(4004, "x" * 300)
    head = await raw.reader.readexactly(4)
    await raw.reader.readexactly(head[1] - 2)
    raw.send(masked(CLOSE, b"\x0f\xa4"))

    assert await raw.reader.read() == b""
    assert head == bytes((0x88, 122)) + (4004).to_bytes(2, "big")
    await until(lambda: outlet.disconnected)
    raw.close()


async def test_frames_before_the_answer_wait_for_it(site: Site) -> None:
    site.accept_after.clear()
    raw = await site.open(early=masked(TEXT, b"early"))
    await asyncio.sleep(0.1)
    site.accept_after.set()
    await until(lambda: site.said)

    assert site.said[0]["text"] == "early"
    raw.close()


async def test_too_much_before_the_answer_is_a_cut(site: Site) -> None:
    site.accept_after.clear()
    raw = await site.open(early=b"x" * 100_000)

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(raw.reader.readexactly(1), 60)
    raw.close()
    site.accept_after.set()


async def test_pings_of_a_client_that_does_not_read_are_not_kept(site: Site) -> None:
    raw, outlet = await site.opened(receive_bytes=4_096)
    while outlet.is_clear:
        outlet.write(a_message(10_000))
        await asyncio.sleep(0.005)
    before = outlet.transport.get_write_buffer_size()
    raw.send(masked(PING, b"x" * 100) * 20)
    await asyncio.sleep(0.2)

    assert outlet.transport.get_write_buffer_size() <= before
    raw.close()


async def test_the_end_of_the_server_ends_every_socket() -> None:
    async with a_site() as site:
        raw, outlet = await site.opened()
        mute, stuck = await site.opened(receive_bytes=4_096)
        while stuck.is_clear:
            stuck.write(a_message(10_000))
            await asyncio.sleep(0.005)
    code = await raw.until_closed()

    assert code == 1012
    assert outlet.disconnected
    assert stuck.disconnected
    raw.close()
    mute.close()


async def test_what_ended_leaves_nothing_to_collect(site: Site) -> None:
    raw, outlet = await site.opened()
    del outlet
    raw.close()
    await until(lambda: site.outlets[-1].disconnected)
    site.outlets.clear()
    site.said.clear()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            raw, outlet = await site.opened()
            outlet.on_clear = lambda outlet=outlet: outlet.abort()  # type: ignore[misc]
            raw.send(masked(TEXT, b"{}"))
            await until(lambda: len(site.said) >= 1)
            del outlet
            raw.close()
            await until(lambda: site.outlets[-1].disconnected)
            await asyncio.sleep(0.05)
            site.outlets.clear()
            site.said.clear()
        gc.collect()
        left = {type(one).__name__ for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()

    assert not left & {"WebSocketProtocol", "HttpProtocol", "ServerProtocol"}
