"""A proxy between a client and a daemon that does to streams what proxies do: drop them, refuse
them, hold them back."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_REFUSAL = (
    b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
    b"<h1>no</h1>\n"
)


@dataclass
class StreamProxy:
    """`allows` says which requests pass; `paths` are the first lines of those that came."""

    target: tuple[str, int]
    url: str = ""
    allows_websocket: bool = True
    allows_sse: bool = True
    is_away: bool = False
    refusal: bytes = b"403 Forbidden"
    requests: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    cuts: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _links: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Drop every connection at once, without a goodbye."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._links:
            self.cuts += 1
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away:
            writer.transport.abort()
            return
        self._links.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):
                await self._talk(reader, writer)
        finally:
            self._links.discard(writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.requests.append(head.split(b"\r\n", 1)[0].decode("latin-1"))
        if not self._is_allowed(head.lower()):
            writer.write(_REFUSAL % self.refusal)
            await writer.drain()
            return
        upstream_reader, upstream = await asyncio.open_connection(*self.target)
        self._links.add(upstream)
        try:
            upstream.write(head)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, upstream))
                tasks.create_task(_pump(upstream_reader, writer))
        except* OSError:
            pass
        finally:
            self._links.discard(upstream)
            upstream.transport.abort()

    def _is_allowed(self, head: bytes) -> bool:
        if b"upgrade: websocket" in head:
            return self.allows_websocket
        return self.allows_sse or b"text/event-stream" not in head


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    # One side has ended, so has the other.
    raise ConnectionResetError


@contextmanager
def stream_proxy(url: str, *, tls: ssl.SSLContext | None = None) -> Iterator[StreamProxy]:
    """A running proxy to the daemon at `url`, in a thread of its own; with `tls` it ends TLS."""
    target, _, port = url.removeprefix("http://").partition(":")
    proxy = StreamProxy((target, int(port)))
    is_ready, is_over = threading.Event(), asyncio.Event()

    async def run() -> None:
        proxy._loop = asyncio.get_running_loop()
        # To clients it is another host than their own, whose certificates and proxies count.
        host = "127.0.0.1" if tls is None else "127.0.0.2"
        listener = await asyncio.start_server(proxy.serve, host, 0, ssl=tls)
        scheme = "http" if tls is None else "https"
        proxy.url = f"{scheme}://{host}:{listener.sockets[0].getsockname()[1]}"
        is_ready.set()
        await is_over.wait()
        listener.close()
        proxy._cut()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    is_ready.wait(10)
    try:
        yield proxy
    finally:
        assert proxy._loop is not None
        proxy._loop.call_soon_threadsafe(is_over.set)
        thread.join(10)
