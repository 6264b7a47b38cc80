"""Clients that keep the server waiting are ended in time, and nobody else is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from daemon.transport.connections import ConnectionBounds, Connections
from daemon.transport.server import HEAD_BYTES_MAX, Server, bind, make_server
from daemon.transport.unix_socket import bind_unix

pytestmark = pytest.mark.anyio

BOUNDS = ConnectionBounds(header_s=2.0, body_s=8.0, write_s=3.0, idle_s=4.0)
Scope = dict[str, Any]
Answering = Callable[[Scope, Any, Any], Awaitable[None]]


@dataclass
class Served:
    """A real server on a real port; `seconds` lets its walks see time pass, without it passing."""

    server: Server
    port: int
    bodies: list[bytes | None]
    plain: list[socket.socket] = field(default_factory=list)

    async def seconds(self, count: int) -> None:
        walks = self.server.walks
        for _ in range(count):
            # What the kernel holds is read before a second is over.
            await turns()
            walks._loop_s = asyncio.get_running_loop().time() - 1.0
            await walks.walk()
        await turns()

    async def until_ended(self, reason: str) -> None:
        """Let time pass until a connection was ended, which is to be for this reason."""
        for _ in range(60):
            await self.seconds(1)
            if self.server.walks.ended:
                break
        assert self.server.walks.ended == {reason: 1}

    async def connect(self, sent: bytes = b"", **options: int) -> Client:
        plain = socket.create_connection(("127.0.0.1", self.port))
        self.plain.append(plain)
        if "receive_buffer" in options:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive_buffer"])
        plain.setblocking(False)
        client = Client(plain)
        await client.send(sent)
        await turns()
        return client


@dataclass
class Client:
    plain: socket.socket

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.plain, data)

    async def answer(self) -> bytes:
        """All that comes until the server closes."""
        parts = []
        while part := await self._read():
            parts.append(part)
        return b"".join(parts)

    async def _read(self) -> bytes:
        async with asyncio.timeout(60):
            try:
                return await asyncio.get_running_loop().sock_recv(self.plain, 65_536)
            except ConnectionResetError:
                return b""

    @property
    def is_open(self) -> bool:
        try:
            while self.plain.recv(65_536):
                pass
        except BlockingIOError:
            return True
        return False


async def turns() -> None:
    """A moment, and turns of the loop enough to accept, read and answer: a process that stood still
    finds its moment over before it did anything."""
    await asyncio.sleep(0.02)
    for _ in range(20):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served(
    bounds: ConnectionBounds = BOUNDS, *, answering: Answering | None = None, **options: Any
) -> AsyncIterator[Served]:
    bodies: list[bytes | None] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if answering is not None:
            await answering(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                bodies.append(None)
                return
            body += message["body"]
            if not message["more_body"]:
                break
        bodies.append(body)
        await _say(send, b"done")

    listening = bind("127.0.0.1", 0)
    server = make_server(app, drain_timeout_s=1.0, bounds=bounds, **options)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        site = Served(server, listening.getsockname()[1], bodies)
        try:
            yield site
        finally:
            for plain in site.plain:
                plain.close()
            server.should_exit = True
            await serving
            listening.close()


async def _say(send: Any, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem_of(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    assert b"connection: close" in head
    found: dict[str, Any] = json.loads(body)
    return found


POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_a_header_that_does_not_end_is_answered_408() -> None:
    async with served() as site:
        client = await site.connect(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for _ in range(4):
            await client.send(b"x-slow: 1\r\n")
            await site.seconds(1)

        answer = await client.answer()

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert problem_of(answer)["code"] == "request_timeout"
        assert site.server.walks.ended == {"header": 1}


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "further"])
async def test_a_header_without_end_is_answered_431(before: bytes) -> None:
    async with served() as site:
        client = await site.connect(before + b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ")
        await client.send(b"x" * HEAD_BYTES_MAX)
        await asyncio.sleep(0.1)
        assert client.is_open
        await client.send(b"x")

        assert (await client.answer()).startswith(b"HTTP/1.1 431 ")
        assert site.server.walks.ended == {"head": 1}


@pytest.mark.parametrize("line", [b"x", b"x-a: b\r\n"], ids=["one", "many"])
async def test_trailers_without_end_are_answered_431(line: bytes) -> None:
    async with served() as site:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        client = await site.connect(head + b"5\r\nhello\r\n0\r\nx-first: ")
        await client.send((line * HEAD_BYTES_MAX)[:HEAD_BYTES_MAX])
        await asyncio.sleep(0.1)
        assert client.is_open
        await client.send(b"x")

        assert (await client.answer()).startswith(b"HTTP/1.1 431 ")
        await until(lambda: site.bodies == [None])


async def test_a_body_in_small_chunks_may_be_long() -> None:
    async with served() as site:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        client = await site.connect(head)
        for _ in range(20):
            await client.send(b"1;" + b"x" * 9_000 + b"\r\n")
            await asyncio.sleep(0.005)
            await client.send(b"y\r\n")
        await client.send(b"0\r\nx-trailer: 1\r\n\r\n")
        await until(lambda: site.bodies == [b"y" * 20])


async def test_long_headers_are_read_after_any_body() -> None:
    async with served() as site:
        body = b"x" * 200_000
        post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" + body
        begin, long = b"GET / HTTP/1.1\r\nhost: x\r\n", b"x-long: " + b"x" * 60_000
        client = await site.connect(post + begin)
        await client.send(long)
        await asyncio.sleep(0.05)
        await client.send(b"\r\nconnection: close\r\n\r\n")

        assert (await client.answer()).count(b"HTTP/1.1 200 ") == 2
        assert site.bodies == [body, b""]


async def test_who_connects_and_says_nothing_is_closed_without_a_word() -> None:
    async with served() as site:
        silent, blank = await site.connect(), await site.connect(b"\r\n")
        await site.seconds(4)

        assert await silent.answer() == await blank.answer() == b""


async def test_a_body_that_trickles_is_answered_408_and_the_route_hears_that_nobody_is_there() -> (
    None
):
    async with served() as site:
        client = await site.connect(POST)
        for _ in range(7):
            await client.send(b"x" * 20)
            await site.seconds(1)

        assert (await client.answer()).startswith(b"HTTP/1.1 408 ")
        await until(lambda: site.bodies == [None])


async def test_a_body_that_comes_fast_enough_is_taken_until_its_time_is_over() -> None:
    async with served(replace(BOUNDS, body_s=30.0)) as site:
        client = await site.connect(POST)
        for _ in range(7):
            await client.send(b"x" * 1_250)
            await site.seconds(1)
        assert client.is_open
        await client.send(b"x" * 1_250)
        await until(lambda: site.bodies == [b"x" * 10_000])
        await site.seconds(12)
        assert b"done" in await client.answer()


async def test_an_even_body_has_to_end_in_time() -> None:
    async with served() as site:
        client = await site.connect(POST.replace(b"10000", b"1000000"))
        for _ in range(9):
            await client.send(b"x" * 3_000)
            await site.seconds(1)

        assert (await client.answer()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_nobody_reads_is_not_held_against_its_client() -> None:
    go = asyncio.Event()

    async def deaf(scope: Scope, receive: Any, send: Any) -> None:
        await go.wait()
        while (await receive()).get("more_body"):
            pass
        await _say(send, b"done")

    async with served(answering=deaf) as site:
        client = await site.connect(POST.replace(b"10000", b"200000") + b"x" * 199_000)
        await site.seconds(12)
        go.set()
        await turns()
        await client.send(b"x" * 1_000)
        await site.seconds(6)

        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_that_takes_long_is_waited_for() -> None:
    go = asyncio.Event()

    async def slow(scope: Scope, receive: Any, send: Any) -> None:
        await go.wait()
        await _say(send, b"done")

    async with served(answering=slow) as site:
        client = await site.connect(GET)
        await site.seconds(100)
        go.set()
        await site.seconds(8)

        assert (await client.answer()).endswith(b"done")


@pytest.mark.parametrize("parts", [1, 400])
async def test_who_never_reads_the_answer_is_cut(parts: int) -> None:
    async def large(scope: Scope, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        for _ in range(parts):
            body = b"x" * (16_000_000 // parts)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with served(answering=large) as site:
        client = await site.connect(GET, receive_buffer=4_096)
        await site.until_ended("write")
        await until(lambda: site.server.walks.open == 0)
        assert len(await client.answer()) < 16_000_000


async def test_who_never_reads_an_answer_that_the_kernel_took_is_cut_too() -> None:
    async def middling(scope: Scope, receive: Any, send: Any) -> None:
        await _say(send, b"x" * 100_000)

    async with served(replace(BOUNDS, idle_s=20.0), answering=middling) as site:
        await site.connect(GET, receive_buffer=2_048)
        await site.until_ended("write")


async def test_who_reads_slowly_but_steadily_gets_the_whole_answer() -> None:
    async def large(scope: Scope, receive: Any, send: Any) -> None:
        await _say(send, b"x" * 8_000_000)

    async with served(answering=large) as site:
        client = await site.connect(GET, receive_buffer=65_536)
        got = parts = 0
        while got < 8_000_000:
            part = await client._read()
            assert part, site.server.walks.ended
            got, parts = got + len(part), parts + 1
            if parts % 7 == 0:
                await site.seconds(1)


async def test_a_kept_connection_is_not_ended_between_its_requests() -> None:
    async with served() as site:
        client = await site.connect()
        for _ in range(8):
            await client.send(GET)
            await site.seconds(3)

        assert client.is_open
        await site.seconds(5)
        assert not client.is_open
        assert site.bodies == [b""] * 8


async def test_time_in_which_the_server_itself_stood_still_does_not_count() -> None:
    async with served(replace(BOUNDS, header_s=10.0)) as site:
        client = await site.connect(b"GET / HTTP/1.1\r\n")
        await site.seconds(5)
        site.server.walks._loop_s = asyncio.get_running_loop().time() - 60.0
        await site.server.walks.walk()

        assert client.is_open
        await site.seconds(4)
        assert not client.is_open


async def test_more_than_there_may_be_are_told_503_when_they_ask() -> None:
    async with served(replace(BOUNDS, connections_max=2)) as site:
        kept = [await site.connect(GET) for _ in range(2)]
        refused = await site.connect(GET)
        answer = await refused.answer()

        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer
        assert problem_of(answer)["retry_after"] == 5
        assert all(one.is_open for one in kept)
        kept[0].plain.close()
        await until(lambda: site.server.walks.open < 2)
        assert (await site.connect(GET)).is_open


async def test_one_address_has_its_share_and_who_is_exempt_has_none() -> None:
    few = replace(BOUNDS, connections_per_address=1)
    async with served(few) as site, served(few, is_exempt=lambda _: True) as open_site:
        first, second = await site.connect(GET), await site.connect(GET)
        several = [await open_site.connect(GET) for _ in range(3)]

        assert (await second.answer()).startswith(b"HTTP/1.1 503 ")
        assert first.is_open
        assert site.server.walks.ended == {"address": 1}
        assert all(one.is_open for one in several)


def test_what_is_counted_of_an_address_is_given_back() -> None:
    walks = Connections(set(), replace(BOUNDS, connections_per_address=1))

    assert walks.enter("2001:db8::1") is None
    assert walks.enter("2001:db8::2") == "address"
    assert walks.enter("::ffff:10.0.0.1") is None
    assert walks.enter("10.0.0.1") == "address"
    walks.leave("2001:db8::1")
    walks.leave("::ffff:10.0.0.1")
    assert not walks._of_address


async def nothing(scope: Scope, receive: Any, send: Any) -> None:
    await _say(send, b"done")


async def test_a_connection_without_an_address_is_counted_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "here"
    server = make_server(nothing, drain_timeout_s=1.0)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[bind_unix(path, group="")]))
        await until(lambda: server.started)
        _, writer = await asyncio.open_unix_connection(str(path))
        await until(lambda: server.walks.open == 1)
        assert dict(server.walks._of_address) == {"": 1}
        writer.close()
        await until(lambda: not server.walks._of_address)
        server.should_exit = True


async def test_a_server_that_has_not_begun_can_be_told_to_end() -> None:
    listening = bind("127.0.0.1", 0)
    server = make_server(nothing, drain_timeout_s=1.0)  # type: ignore[arg-type]
    server.say_goodbye()
    server.close_port()
    server.should_exit = True
    async with asyncio.timeout(60):
        await server.serve(sockets=[listening])
    assert server.started
