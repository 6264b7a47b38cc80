"""Puts the address of a request where everybody reads it: the client's, also when it comes through
a proxy of `[server] trusted_proxies`. Which it is is decided in domain/clients."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.domain.clients import Networks, client_of, is_within

_FOUND = "client_vouched_for"


@dataclass(slots=True)
class Proxies:
    """The proxies that are trusted; one for a process, so that a reload changes it everywhere."""

    trusted: Networks = ()

    def find_client(self, scope: Scope) -> None:
        """Let the client be who sent the request. A second time it changes nothing."""
        client = cast("tuple[str, int] | None", scope.get("client"))
        if not self.trusted or client is None or not is_within(client[0], self.trusted):
            return
        if any(n == b"x-forwarded-proto" and v == b"https" for n, v in scope["headers"]):
            # It took off the TLS: browsers are told to come back with it (security_headers).
            scope["scheme"] = "https"
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        found = client_of(client[0], forwarded, self.trusted)
        if found != client[0]:
            scope["client"] = (found, 0)
            scope.setdefault("state", {})[_FOUND] = True


def is_vouched_for(scope: Scope) -> bool:
    """Whether the client's address was told by a proxy that is trusted."""
    return bool(scope.get("state", {}).get(_FOUND))


class ClientAddress:
    """Finds the client of each request before anything else asks for it."""

    def __init__(self, app: ASGIApp, *, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self._proxies.trusted and scope["type"] in ("http", "websocket"):
            self._proxies.find_client(scope)
        return self._app(scope, receive, send)
