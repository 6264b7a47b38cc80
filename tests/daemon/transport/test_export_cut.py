"""An export that fails in the middle is not a complete answer for its reader."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from daemon.transport.http import LastResort
from daemon.transport.request_id import RequestIdMiddleware
from daemon.transport.routes.export import CsvResponse

pytestmark = pytest.mark.anyio


class Source:
    """Rows until it fails; remembers whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def rows(self, *, fails: bool) -> AsyncIterator[bytes]:
        try:
            for _ in range(5):
                yield b"row\r\n"
            if fails:
                raise RuntimeError("the database went away")
        finally:
            self.is_closed = True


async def served(source: Source, *, fails: bool) -> str:
    """The body as a client gets it from a real server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await CsvResponse(source.rows(fails=fails), {})(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0))
    stack = RequestIdMiddleware(LastResort(app))
    config = uvicorn.Config(stack, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        async with httpx.AsyncClient() as client:
            port = listening.getsockname()[1]
            return (await client.get(f"http://127.0.0.1:{port}/")).text
    finally:
        server.should_exit = True
        await task


async def test_a_whole_export_arrives_whole() -> None:
    source = Source()

    assert await served(source, fails=False) == "row\r\n" * 5
    assert source.is_closed


async def test_a_cut_export_is_an_error_for_its_reader() -> None:
    source = Source()

    with pytest.raises(httpx.RemoteProtocolError):
        await served(source, fails=True)
    assert source.is_closed
