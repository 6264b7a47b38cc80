"""The limit of ingest: a bare ASGI app that decodes the contract's bodies and drops them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
import uvicorn
from bench import clients

ANSWER = b'{"success":true}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


class Point(msgspec.Struct):
    """The contract's point."""

    timestamp: datetime
    metric_name: str
    value: float | str | bool | dict[str, Any] | list[Any]
    unit: str | None = None
    tags: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class Batch(msgspec.Struct):
    """The contract's batch."""

    data_points: list[Point]
    batch_id: str | None = None
    compression: str | None = None


_point = msgspec.json.Decoder(Point).decode
_batch = msgspec.json.Decoder(Batch).decode


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"].endswith("/batch"):
        _batch(body)
    else:
        _point(body)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


class Server(uvicorn.Server):
    """Says its port when it listens, and ends with its standard input."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
        asyncio.get_running_loop().add_reader(sys.stdin, self._end)

    def _end(self) -> None:
        self.should_exit = True
        asyncio.get_running_loop().remove_reader(sys.stdin)


@contextmanager
def served() -> Iterator[int]:
    """The port of a bare server in a process of its own."""
    process = clients.start("bare", {})
    try:
        yield int(clients.said(process))
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    sys.stdin.readline()
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_config=None,
    )  # fmt: skip
    Server(config).run()


if __name__ == "__main__":
    main()
