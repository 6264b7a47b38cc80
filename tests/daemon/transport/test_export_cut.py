"""An export that fails in the middle is not a complete answer for its reader."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from daemon.domain.errors import DomainError, StoreUnavailable
from daemon.transport.compression import Compression
from daemon.transport.http import LastResort
from daemon.transport.request_id import RequestIdMiddleware
from daemon.transport.routes.export import CsvResponse
from daemon.transport.routing import on_error

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


async def answered(error: Exception) -> httpx.Response:
    """What a client gets of a small export that fails with this behind the daemon's middleware."""

    async def rows() -> AsyncIterator[bytes]:
        yield b"row\r\n"
        raise error

    async def export(request: Request) -> Response:
        return CsvResponse(rows(), {})

    routes = Starlette(
        routes=[Route("/", export)], exception_handlers={DomainError: on_error, Exception: on_error}
    )
    app = RequestIdMiddleware(LastResort(Compression(routes)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://daemon") as client:
        return await client.get("/", headers={"Accept-Encoding": "gzip"})


@pytest.mark.parametrize(("error", "status", "code"), [
    (RuntimeError("a bug"), 500, "internal_error"),
    (StoreUnavailable(), 503, "database_unavailable"),
])  # fmt: skip
async def test_one_that_failed_before_its_head_went_out_is_a_problem(
    error: Exception, status: int, code: str
) -> None:
    answer = await answered(error)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


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
