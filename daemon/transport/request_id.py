"""The id of a request: echoed or made, on every answer; errors and logs carry it too."""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_CHARACTERS_MAX = 128
_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]{1,128}")
# One random prefix for the process and a running number: unique, and cheaper than random bytes
# each.
_PREFIX = secrets.token_hex(6)


class _Counter:
    """The running number of the ids that this process makes."""

    value = secrets.randbits(24)


def request_id(raw_headers: list[tuple[bytes, bytes]]) -> str:
    """The client's `X-Request-ID` if it is 1-128 visible ASCII characters, else a new one.

    `raw_headers` are those of an ASGI scope: names in lower case.
    """
    for name, value in raw_headers:
        if name == b"x-request-id":
            if _VISIBLE_ASCII.fullmatch(value):
                return value.decode("ascii")
            break
    return new_request_id()


def new_request_id() -> str:
    """An id that no other request has."""
    _Counter.value += 1
    return f"req_{_PREFIX}{_Counter.value:08x}"


class RequestIdMiddleware:
    """Puts the request id into `scope["state"]["request_id"]` and on every answer.

    An outer layer may have put one there already; it is kept, so that one request has one id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        own_id = state.get("request_id") or request_id(scope["headers"])
        state["request_id"] = own_id
        header = (b"x-request-id", own_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.http.response.start",
            ):
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """The id that the middleware gave to this request; a new one when it did not run."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = request_id(scope["headers"])
    return str(state["request_id"])
