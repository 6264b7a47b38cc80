"""CORS: what pages of the origins in `[http] cors_origins` may do, and nobody else's.

No credential of this daemon is a cookie, so a page sends only what it was given itself. WebSockets
and server-sent events check the origin on their own (transport/origin).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.clock import Clock
from daemon.transport.access_log import AccessLog, AccessLogMiddleware
from daemon.transport.origin import RawHeaders, origin_of
from daemon.transport.problems import PROBLEM_CONTENT_TYPE, problem
from daemon.transport.request_id import request_id_of
from daemon.transport.security_headers import with_headers

PREFLIGHT_S = 600
"""How long a browser remembers what a preflight said."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    "Authorization", "Cache-Control", "Content-Digest", "Content-Encoding", "Content-Type",
    "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Signature",
    "Signature-Input", "traceparent", "tracestate", "X-Api-Key", "X-Request-ID",
)  # fmt: skip
EXPOSED_HEADERS = (
    "Allow", "Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "RateLimit",
    "RateLimit-Policy", "Retry-After", "X-Gap", "X-Next-Cursor", "X-RateLimit-Limit",
    "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-ID",
)  # fmt: skip
_ASKED_METHOD = b"access-control-request-method"
_WITH_CREDENTIALS = (b"access-control-allow-credentials", b"true")
_EXPOSE = (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())
_VARY = (b"vary", b"Origin")
_PREFLIGHT: RawHeaders = [
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(REQUEST_HEADERS).encode()),
    (b"access-control-max-age", str(PREFLIGHT_S).encode()),
    _WITH_CREDENTIALS,
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    (b"cache-control", b"no-store"),
]


class Cors:
    """Answers preflights, and lets pages of the named origins read what they asked for.

    An origin is compared whole; `null` and unknown ones are never said back. What no page sent is
    passed on as it is. (https://fetch.spec.whatwg.org/#http-cors-protocol)
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Callable[[], Collection[str]],
        access: AccessLog,
        clock: Clock,
    ) -> None:
        self._app = app
        self._origins = origins
        self._preflights = AccessLogMiddleware(self._answer_preflight, access=access, clock=clock)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        origin = origin_of(scope["headers"]) if scope["type"] == "http" else None
        if origin is None:
            return self._app(scope, receive, send)
        is_allowed = origin in self._origins()
        if scope["method"] == "OPTIONS" and any(n == _ASKED_METHOD for n, _ in scope["headers"]):
            return self._preflights(scope, receive, send)
        if is_allowed:
            allowing = [(b"access-control-allow-origin", origin.encode("latin-1")), *_SIMPLE]
            send = with_headers(send, allowing)
        return self._app(scope, receive, send)

    async def _answer_preflight(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = origin_of(scope["headers"])
        await _answer(scope, send, origin=origin if origin in self._origins() else None)


_SIMPLE: RawHeaders = [_WITH_CREDENTIALS, _EXPOSE, _VARY]


async def _answer(scope: Scope, send: Send, *, origin: str | None) -> None:
    """What the page may send; a page of another origin (None) is refused and told nothing."""
    own_id = request_id_of(scope)
    body = b""
    headers = [(b"x-request-id", own_id.encode("ascii"))]
    if origin is not None:
        # 204 is used nowhere (contract 1).
        status = 200
        headers.append((b"content-length", b"0"))
        headers += [(b"access-control-allow-origin", origin.encode("latin-1")), *_PREFLIGHT]
    else:
        status = 403
        detail = "Pages of this origin may not use this daemon; see [http] cors_origins."
        body = problem(403, code="origin_not_allowed", detail=detail, request_id=own_id)
        headers += [
            (b"content-type", PROBLEM_CONTENT_TYPE),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            _VARY,
        ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
