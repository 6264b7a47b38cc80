"""A proxy between a daemon and PostgreSQL that loses what a test tells it to lose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from servers import PostgresServer

from daemon.domain.block import MAGIC

READY = b"Z\x00\x00\x00\x05"
"""ReadyForQuery (PostgreSQL manual, Message Formats): the answer to a statement is complete."""


class Loss(Enum):
    """What happens to the next append of a block."""

    ANSWER = auto()
    REQUEST = auto()


@dataclass
class Proxy:
    """Forwards everything until `lose` is set; then the next append loses its connection, once."""

    server: PostgresServer
    port: int = 0
    lose: Loss | None = None
    losses: int = 0
    is_refusing: bool = False
    _links: set[asyncio.StreamWriter] = field(default_factory=set)

    def dsn(self, database: str) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.is_refusing:
            writer.transport.abort()
            return
        path = str(self.server.folder / "socket" / ".s.PGSQL.5432")
        upstream_reader, upstream = await asyncio.open_unix_connection(path)
        link = _Link(self, reader, writer, upstream_reader, upstream)
        self._links |= {writer, upstream}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.requests())
                tasks.create_task(link.answers())
        except* OSError:
            pass
        finally:
            self._links -= {writer, upstream}
            writer.transport.abort()
            upstream.transport.abort()

    def cut_all(self) -> None:
        """Drop every connection."""
        for writer in self._links:
            writer.transport.abort()


@dataclass
class _Link:
    proxy: Proxy
    client_reader: asyncio.StreamReader
    client: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server: asyncio.StreamWriter
    is_losing: bool = False

    async def requests(self) -> None:
        tail = b""
        while data := await self.client_reader.read(65_536):
            if self.proxy.lose is not None and MAGIC in tail + data:
                loss, self.proxy.lose = self.proxy.lose, None
                self.proxy.losses += 1
                if loss is Loss.REQUEST:
                    self._cut()
                self.is_losing = True
            tail = data[-8:]
            self.server.write(data)
            await self.server.drain()
        self._cut()

    async def answers(self) -> None:
        while data := await self.server_reader.read(65_536):
            if self.is_losing:
                if READY in data:
                    self._cut()
                continue
            self.client.write(data)
            await self.client.drain()
        self._cut()

    def _cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()
        raise ConnectionResetError


@asynccontextmanager
async def a_proxy(server: PostgresServer) -> AsyncIterator[Proxy]:
    """A running proxy on a free port."""
    proxy = Proxy(server)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        proxy.cut_all()
        with suppress(TimeoutError):
            await asyncio.wait_for(listener.wait_closed(), 5)
