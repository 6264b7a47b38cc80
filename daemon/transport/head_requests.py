"""HEAD: what GET answers, without its body (RFC 9110, section 9.3.2). Streams have none."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ASKED = "telemetry.asked_method"


class HeadRequests:
    """Asks for the same with GET, so that whoever answers it need not know HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        # A copy: the server has to know that no body follows.
        asked = {**scope, "method": "GET", _ASKED: "HEAD"}
        try:
            await self._app(asked, receive, send_head)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]


def asked_method(scope: Scope) -> str:
    """The method as the client sent it; an upgrade is a GET."""
    return str(scope.get(_ASKED) or scope.get("method", "GET"))
