"""The id and the trace of a request: the client's or made; errors, logs and events carry them too.

Every answer has the id. `traceparent` stands on the answer to a request that sent a valid one.
"""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.redaction import redact
from daemon.tracing import CAUSE, Cause, Trace, trace_of

REQUEST_ID_CHARACTERS_MAX = 128
_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]{1,128}")
# One random prefix for the process and a running number: unique, and cheaper than random bytes
# each.
_PREFIX = secrets.token_hex(6)
_OWN_ID = f"req_{_PREFIX}"
# With the prefix and the running number, the 32 digits of a trace (ten here, twelve there).
_TRACE_START = secrets.token_hex(5) + _PREFIX
_NUMBER_DIGITS = 10
_OWN = re.compile(rf"{_OWN_ID}[0-9a-f]{{{_NUMBER_DIGITS}}}")


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
                sent = value.decode("ascii")
                # It is repeated everywhere: a secret that somebody put there goes no further.
                return sent if redact(sent) == sent else new_request_id()
            break
    return new_request_id()


def new_request_id() -> str:
    """An id that no other request has."""
    _Counter.value += 1
    return f"{_OWN_ID}{_Counter.value:010x}"


def is_own_id(own_id: str) -> bool:
    """Whether it has the form of those that are made here, so that nothing in it needs escaping."""
    return _OWN.fullmatch(own_id) is not None


def trace_id_of(own_id: str) -> str:
    """The trace of a request that names none: that of its id, if that was made here."""
    return own_trace_id(own_id if is_own_id(own_id) else new_request_id())


def own_trace_id(own_id: str) -> str:
    """The trace of a request whose id was made here: 32 hexadecimal digits."""
    return _TRACE_START + own_id[-_NUMBER_DIGITS:]


def sent_trace(raw_headers: list[tuple[bytes, bytes]]) -> Trace | None:
    """The valid `traceparent` of the client, if there is one."""
    found = [value for name, value in raw_headers if name == b"traceparent"]
    return trace_of(found) if found else None


def cause_of(scope: Scope) -> Cause:
    """Id and trace of the request, found once."""
    state = scope.setdefault("state", {})
    cause: Cause | None = state.get("cause")
    if cause is None:
        own_id = request_id_of(scope)
        sent = sent_trace(scope["headers"])
        trace = sent or Trace(trace_id_of(own_id))
        cause = state["cause"] = Cause(own_id, trace, is_followed=sent is not None)
    return cause


def id_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What an answer says of its request: the id; and the trace, with our span, if one was sent."""
    cause = cause_of(scope)
    headers = [(b"x-request-id", cause.request_id.encode("ascii"))]
    if cause.is_followed:
        headers.append((b"traceparent", cause.trace.traceparent().encode("ascii")))
    return headers


class RequestIdMiddleware:
    """Puts the id and the trace into `scope["state"]`, and on every answer; and tells all that is
    called which request it is for.

    An outer layer may have put one there already; it is kept, so that one request has one id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        CAUSE.set(cause_of(scope))
        headers = id_headers(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.http.response.start",
            ):
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """The id that the middleware gave to this request; a new one when it did not run."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = request_id(scope["headers"])
    return str(state["request_id"])
