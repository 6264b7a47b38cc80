"""Serves internal calls on a socket of their own, beside the public port."""

from __future__ import annotations

import asyncio
import socket

from starlette.types import ASGIApp

from daemon.transport.connections import WALK_EVERY_S, ConnectionBounds
from daemon.transport.server import Server, make_server

LAST_REQUEST_S = 0.25
"""How long kept connections have for their last request."""


class InternalServer:
    """One socket; slow callers are ended as on the public port."""

    def __init__(
        self, app: ASGIApp, listening: socket.socket, *, bounds: ConnectionBounds, drain_s: float
    ) -> None:
        self._listening = listening
        self._server: Server = make_server(
            app, drain_timeout_s=drain_s, bounds=bounds, is_exempt=lambda _: True
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then answer what is under way."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.serve(sockets=[self._listening]))
            walking = tasks.create_task(self._walk())
            await stop.wait()
            self._server.say_goodbye()
            await asyncio.sleep(LAST_REQUEST_S)
            self._server.should_exit = True
            walking.cancel()

    async def _walk(self) -> None:
        while True:
            await self._server.walks.walk()
            await asyncio.sleep(WALK_EVERY_S)
