"""Server-sent events over ASGI: messages of the hub wait here until the server takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Send

from daemon.live.message import Message

TRANSPORT = "telemetry.transport"
"""Where the scope's extensions hold the connection of a request."""
HIGH_WATER_BYTES = 64 * 1024
"""Bytes not yet taken by the server from which on it is not clear."""
ABORT_AFTER_S = 5.0
RETRY_MS = 3_000
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # No proxy may keep, change or hold back what comes (nginx: X-Accel-Buffering).
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    # The answer has no end, so nothing can follow it on the connection.
    (b"connection", b"close"),
)


def _nothing() -> None:
    return None


class SseOutlet:
    """The Outlet of one answer; `pump` sends what was written until it is closed or cut."""

    def __init__(self, *, abort: Callable[[], None]) -> None:
        self.on_clear: Callable[[], None] = _nothing
        self.close_code: int | None = None
        self._abort = abort
        self._waiting: list[bytes] = [b"retry: %d\n\n" % RETRY_MS]
        self._waiting_bytes = 0
        self._has_work = asyncio.Event()
        self._has_work.set()
        self._is_gone = False

    def write(self, message: Message) -> None:
        if self.close_code is None:
            text = message.sse
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            self._has_work.set()

    @property
    def is_clear(self) -> bool:
        return self._is_gone or self._waiting_bytes <= HIGH_WATER_BYTES

    def close(self, code: int, reason: str) -> None:
        """End the answer after what was written; who does not take it in ABORT_AFTER_S is cut."""
        del reason
        if self.close_code is None:
            self.close_code = code
            self._has_work.set()
            asyncio.get_running_loop().call_later(ABORT_AFTER_S, self.abort)

    def abort(self) -> None:
        """Cut the connection, whatever is unsent."""
        if self.close_code is None:
            self.close_code = 1006
        if not self._is_gone:
            self._is_gone = True
            self._has_work.set()
            self._abort()

    def gone(self) -> None:
        """The connection is no more."""
        self._is_gone = True
        if self.close_code is None:
            self.close_code = 1006
        self._has_work.set()
        self.on_clear()

    async def pump(self, send: Send) -> None:
        """Until the end; the last part closes the answer."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            if self._is_gone:
                return
            body = b"".join(self._waiting)
            self._waiting.clear()
            is_last = self.close_code is not None
            # The server lets go when its own buffer has room again.
            await send({"type": "http.response.body", "body": body, "more_body": not is_last})
            was_clear, self._waiting_bytes = self.is_clear, sum(map(len, self._waiting))
            if is_last:
                return
            if not was_clear and self.is_clear:
                self.on_clear()


async def until_gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
