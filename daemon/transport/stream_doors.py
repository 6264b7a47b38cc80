"""The doors to the streams as bare ASGI: `/ws`, `/ws/telemetry/{id}` and `/stream/{channel}`, over
WebSocket or server-sent events. All else passes on."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.tracing import CAUSE
from daemon.transport.access_log import AccessLog, StreamLogMiddleware
from daemon.transport.openapi import PREFIX, STREAM_PATH
from daemon.transport.reception import Reception, StreamParts
from daemon.transport.request_id import cause_of
from daemon.transport.socket_door import SocketDoor
from daemon.transport.sse_door import SseDoor
from daemon.transport.stream_requests import STREAM_PREFIX


class StreamDoors:
    """Takes every WebSocket, and the requests for streams; passes the other requests on."""

    def __init__(self, app: ASGIApp, *, parts: StreamParts, access: AccessLog) -> None:
        reception = Reception(parts)
        self._app = app
        self._sockets = SocketDoor(reception)
        self._events = StreamLogMiddleware(
            SseDoor(reception), access=access, clock=parts.clock, route=PREFIX + STREAM_PATH
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            CAUSE.set(cause_of(scope))
            return self._sockets(scope, receive, send)
        if scope["type"] == "http" and scope["path"].startswith(STREAM_PREFIX):
            CAUSE.set(cause_of(scope))
            return self._events(scope, receive, send)
        return self._app(scope, receive, send)
