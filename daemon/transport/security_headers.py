"""Headers by which an answer tells browsers and caches what they may do with it.

Those of every answer are given to the server, which writes them whichever way an answer was made;
so no part of the daemon can forget them. What a page may load stands with the pages
(transport/docs_pages).
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.transport.origin import RawHeaders

ON_EVERY_ANSWER = [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
"""Given to the server (transport/server)."""
NO_STORE = (b"cache-control", b"no-store")
"""For what nobody may keep, which is all that does not say otherwise."""
HSTS_S = 365 * 86_400
_HSTS = (b"strict-transport-security", f"max-age={HSTS_S}".encode())


class TransportSecurity:
    """Tells browsers that came over TLS to come back over TLS only (RFC 6797).

    The daemon speaks no TLS itself: the scheme of the request is what a trusted proxy says it is.
    Over plain HTTP the header means nothing (section 8.1), so it is left out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["scheme"] != "https":
            return self._app(scope, receive, send)
        return self._app(scope, receive, with_headers(send, [_HSTS]))


class NothingStored:
    """`Cache-Control: no-store` on every answer that says nothing of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_guarded)


def with_headers(send: Send, more: RawHeaders) -> Send:
    """The same, with these at the end of the answer's head."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *more]
        await send(message)

    return send_with_headers
