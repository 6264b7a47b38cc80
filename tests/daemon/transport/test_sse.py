"""An outlet of server-sent events: what waits, what is bounded, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daemon.live.message import Message
from daemon.transport.sse import HIGH_WATER_BYTES, SseOutlet

pytestmark = pytest.mark.anyio


class Server:
    """Takes parts while `takes` is set, as a server does that has flow control."""

    def __init__(self) -> None:
        self.takes = asyncio.Event()
        self.takes.set()
        self.parts: list[dict[str, Any]] = []
        self.cuts = 0

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        self.parts.append(message)

    def cut(self) -> None:
        self.cuts += 1

    @property
    def text(self) -> bytes:
        return b"".join(part["body"] for part in self.parts)


def a_message(body: bytes = b"{}", kind: str = "update") -> Message:
    return Message(kind, cursor="e-1", body=body)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def test_messages_are_events_behind_the_retry_hint() -> None:
    server = Server()
    outlet = SseOutlet(abort=server.cut)
    async with asyncio.TaskGroup() as tasks:
        pumping = tasks.create_task(outlet.pump(server.send))
        outlet.write(a_message(b'{"a":1}'))
        outlet.write(a_message(kind="ping"))
        await until(lambda: b"heartbeat" in server.text)
        pumping.cancel()

    assert server.text == (
        b'retry: 3000\n\nevent: update\nid: e-1\ndata: {"a":1}\n\n'
        b"event: heartbeat\nid: e-1\ndata: {}\n\n"
    )
    assert all(part["more_body"] for part in server.parts)


async def test_a_reader_that_stops_makes_it_unclear_until_it_goes_on() -> None:
    server = Server()
    outlet = SseOutlet(abort=server.cut)
    cleared: list[bool] = []
    outlet.on_clear = lambda: cleared.append(outlet.is_clear)
    server.takes.clear()
    async with asyncio.TaskGroup() as tasks:
        pumping = tasks.create_task(outlet.pump(server.send))
        outlet.write(a_message(b"x" * (HIGH_WATER_BYTES + 1)))
        await asyncio.sleep(0)
        was_clear = outlet.is_clear
        server.takes.set()
        await until(lambda: cleared)
        pumping.cancel()

    assert not was_clear
    assert cleared == [True]


async def test_it_closes_behind_what_was_written() -> None:
    server = Server()
    outlet = SseOutlet(abort=server.cut)
    outlet.write(a_message(b"last"))
    outlet.close(1012, "restart")
    outlet.write(a_message(b"too late"))
    await outlet.pump(server.send)

    assert server.text.endswith(b"data: last\n\n")
    assert server.parts[-1]["more_body"] is False
    assert outlet.close_code == 1012


async def test_a_cut_ends_a_pump_that_nobody_takes_from() -> None:
    server = Server()
    outlet = SseOutlet(abort=server.cut)
    outlet.abort()
    outlet.abort()
    await outlet.pump(server.send)

    assert server.cuts == 1
    assert server.parts == []
