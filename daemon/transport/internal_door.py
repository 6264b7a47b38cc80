"""The door for services of this installation: here `X-Internal-Call: true` yields the holder that
`X-Internal-Service` names, if the caller shows that it is inside (C-07).

Whoever does not say that it calls from inside needs a credential as everywhere. Streams need one in
any case.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.domain.access import Principal
from daemon.domain.errors import Unauthenticated
from daemon.log import get_logger
from daemon.service.internal import InternalCallers
from daemon.transport.auth import INTERNAL, address_of, token_of
from daemon.transport.errors import answer_of
from daemon.transport.internal_calls import remove_internal
from daemon.transport.request_id import cause_of, id_headers
from daemon.transport.sse import TRANSPORT

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group (man 7 unix, SO_PEERCRED)."""

log = get_logger()


class InternalDoor:
    """Stands before everything else on its own socket; `outcomes` counts what became of calls."""

    def __init__(self, app: ASGIApp, *, callers: InternalCallers) -> None:
        self._app = app
        self._callers = callers
        self.outcomes: Counter[str] = Counter(taken=0, refused=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(scope)
        except Unauthenticated as error:
            self.outcomes["refused"] += 1
            log.warning(
                "internal_call_refused",
                reason=error.detail,
                address=address_of(scope),
                request_id=cause_of(scope).request_id,
            )
            await _refuse(scope, error, send)
            return
        remove_internal(scope)
        if caller is not None:
            self._let_in(scope, caller)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Principal | None:
        """Who calls; None for who does not say that it does. Raises Unauthenticated."""
        if self._callers.uids:
            self._check_user(scope)
        said = _values(scope, b"x-internal-call")
        if not said:
            return None
        if said != [b"true"]:
            raise Unauthenticated("X-Internal-Call is to be exactly one true")
        if self._callers.tokens and not self._callers.knows_token(
            _values(scope, b"x-internal-token")
        ):
            raise Unauthenticated("the internal token is missing or wrong")
        if token_of(scope["headers"]) is not None:
            raise Unauthenticated("an internal call shows no other credential")
        names = _values(scope, b"x-internal-service")
        service = None
        if len(names) == 1:
            service = self._callers.services.get(names[0].decode("latin-1"))
        if service is None:
            raise Unauthenticated("X-Internal-Service names nobody who may call")
        return service

    def _check_user(self, scope: Scope) -> None:
        """Who has the other end of the socket, as the kernel knows it."""
        uid = _peer_uid(scope)
        scope["client"] = (f"uid:{uid}", 0)
        if uid not in self._callers.uids:
            raise Unauthenticated("this user may not call")

    def _let_in(self, scope: Scope, caller: Principal) -> None:
        self.outcomes["taken"] += 1
        scope.setdefault("state", {})[INTERNAL] = caller
        log.info(
            "internal_call",
            service=caller.name,
            method=scope.get("method"),
            path=scope["path"],
            address=address_of(scope),
            request_id=cause_of(scope).request_id,
        )


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    """Under exactly this name: another spelling is another header."""
    return [value for name, value in scope["headers"] if name == wanted]


def _peer_uid(scope: Scope) -> int | None:
    transport: Any = scope.get("extensions", {}).get(TRANSPORT)
    peer: socket.socket | None = transport and transport.get_extra_info("socket")
    if peer is None:
        return None
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(found)[1]
    return uid


async def _refuse(scope: Scope, error: Unauthenticated, send: Send) -> None:
    answer = answer_of(error, request_id=cause_of(scope).request_id)
    kind = "http" if scope["type"] == "http" else "websocket.http"
    headers = [*answer.raw_headers(), *id_headers(scope), (b"cache-control", b"no-store")]
    await send({"type": f"{kind}.response.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": answer.body})
