"""The limit of streams: a bare ASGI WebSocket app that sends one prepared text to all, in a loop.

uvicorn with websockets-sansio and the daemon's settings, deflate off. It begins when as many
connections are there as its orders say, and ends when it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from bench import clients
from bench.bare import Server

TEXT_BYTES = 150
_HEAD, _TAIL = '{"type":"update","data":{"data_points":[{"note":"', '","value":1.5}]}}'
TEXT = _HEAD + "x" * (TEXT_BYTES - len(_HEAD) - len(_TAIL)) + _TAIL


class FanOut:
    """Accepts, and sweeps over all connections without a pause."""

    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.sends: list[Any] = []
        self.sweeping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.sends.append(send)
        if len(self.sends) == self.connections:
            self.sweeping = asyncio.get_running_loop().create_task(self.sweep())
        while (await receive())["type"] != "websocket.disconnect":
            """Whatever a client says, it is sent the text."""

    async def sweep(self) -> None:
        message = {"type": "websocket.send", "text": TEXT}
        while True:
            for send in self.sends:
                await send(message)
            await asyncio.sleep(0)


@contextmanager
def served(connections: int) -> Iterator[tuple[int, int]]:
    """Port and pid of a server in a process of its own; it waits for so many connections."""
    process = clients.start("fanout", {"connections": connections})
    try:
        yield int(clients.said(process)), process.pid
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    config = uvicorn.Config(
        FanOut(orders["connections"]), port=0, loop="uvloop", http="httptools",
        ws="websockets-sansio", ws_per_message_deflate=False, lifespan="off",
        access_log=False, log_config=None, backlog=2048,
    )  # fmt: skip
    Server(config).run()


if __name__ == "__main__":
    main()
