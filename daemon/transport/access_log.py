"""One log line and one count for each request; nothing of its query, headers or body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.clock import Clock
from daemon.live.traffic import Traffic
from daemon.log import get_logger
from daemon.transport.openapi import PREFIX
from daemon.transport.request_id import request_id_of

# Probes come every few seconds and say nothing new.
_QUIET_PREFIXES = ("/health", "/livez", "/readyz", "/metrics")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger()


class AccessLogMiddleware:
    """Logs method, path, route, status and duration, and counts them for the statistics."""

    def __init__(self, app: ASGIApp, *, traffic: Traffic, clock: Clock) -> None:
        self._app = app
        self._traffic = traffic
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._clock.monotonic_s()
        self._traffic.routes.in_flight += 1
        status = 499  # What nginx writes when the client went away before the answer.

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            self._traffic.routes.in_flight -= 1
            self._note(scope, status, self._clock.monotonic_s() - began_s)

    def _note(self, scope: Scope, status: int, duration_s: float) -> None:
        path: str = scope["path"]
        route = _template(scope)
        if path.startswith(_QUIET_PREFIXES):
            write = log.debug
        else:
            self._traffic.count_request(
                status=status, duration_s=duration_s, call=(route, _method_of(scope))
            )
            write = log.info
        principal = scope.get("state", {}).get("principal")
        write(
            "request",
            method=scope["method"],
            path=path,
            route=route,
            status=status,
            duration_ms=round(duration_s * 1000, 2),
            principal=getattr(principal, "key_id", None),
            request_id=request_id_of(scope),
        )


def _method_of(scope: Scope) -> str:
    """The method; one that nobody knows is `other`, so that clients can't make up figures."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _template(scope: Scope) -> str:
    """The path of the route, whole: a router that was included knows its own part only."""
    route: str = getattr(scope.get("route"), "path", "other")
    if route != "other" and scope["path"].startswith(PREFIX) and not route.startswith(PREFIX):
        return PREFIX + route
    return route
