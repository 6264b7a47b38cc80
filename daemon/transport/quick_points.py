"""Single points without a task: the connection itself queues them and writes the answer.

What nearly every device sends is one small request, and the way through ASGI costs more than all
that is done with it. Only a request that the ingest routes would take their own short way with
(transport/plain) is handled here; every other goes to them, whole, as if this was not there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from daemon.domain.access import Principal
from daemon.domain.errors import CatalogStale
from daemon.live.traffic import Traffic
from daemon.service.ingest import Ingest
from daemon.service.keys import Keys
from daemon.transport.auth import token_of
from daemon.transport.errors import answer_of
from daemon.transport.ingest import CALLS, IngestRoutes, route_of
from daemon.transport.plain import queue_plain, stored_answer
from daemon.transport.request_id import new_request_id, request_id
from daemon.transport.security_headers import NO_STORE

LENGTH_DIGITS_MAX = 4
"""Bodies of up to 9,999 bytes are held: they come whole or nearly so."""
# Each needs something that is done on the long way.
_SPECIAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"origin"})
_CLOSE = (b"connection", b"close")
_ACCEPTED = (
    b"content-type: application/json\r\ncontent-length: %d\r\n"
    b"x-request-id: %b\r\ncache-control: no-store\r\n"
)
# A member of an enumeration takes as long to be found as the answer to be written.
_OK = int(HTTPStatus.OK)
_CALL = CALLS[IngestRoutes.single]


@dataclass(frozen=True, slots=True)
class Sender:
    """What the path and headers of a request say; a connection mostly repeats them."""

    device_id: str
    token: str
    names_request: bool


@dataclass(slots=True)
class Held:
    """A request that is taken without ASGI, should its body be plain."""

    points: QuickPoints
    cycle: RequestResponseCycle
    app: Any
    sender: Sender
    principal: Principal
    began_s: float
    metric_name: str = ""


@dataclass(slots=True)
class QuickPoints:
    """What the connections of a server share."""

    ingest: Ingest
    keys: Keys
    traffic: Traffic

    def principal_of(self, sender: Sender) -> Principal | None:
        """Who it is, if the key is known and may write any point: others wait for a look at it."""
        principal = self.keys.cached(sender.token)
        return principal if principal is not None and _writes_everything(principal) else None

    def count(self, held: Held, *, status: int) -> None:
        counters, principal = self.ingest.counters, held.principal
        counters.requests += 1
        if status == _OK:
            self.traffic.count_sender(principal.key_id, label=principal.name, points=1)
        else:
            counters.failed_requests += 1
        now_s = self.ingest.clock.monotonic_s()
        duration_s = now_s - held.began_s
        self.traffic.count_request(status=status, duration_s=duration_s, now_s=now_s, call=_CALL)


def _writes_everything(principal: Principal) -> bool:
    scopes = principal.scopes
    return principal.sees_everything and ("ingest" in scopes or "admin" in scopes)


def sender_of(scope: Scope) -> Sender | None:
    """Who sends a single point; None when the request is none, or needs a closer look."""
    if scope["method"] != "POST" or scope["query_string"]:
        return None
    found = route_of(scope["raw_path"])
    if found is None or found[0] is not IngestRoutes.single:
        return None
    has_length = names_request = False
    for name, value in scope["headers"]:
        if name in _SPECIAL:
            return None
        if name == b"content-length":
            has_length = len(value) <= LENGTH_DIGITS_MAX
        elif name == b"x-request-id":
            names_request = True
    token = token_of(scope["headers"]) if has_length else None
    return None if token is None else Sender(found[1], token, names_request)


class QuickConnection(HttpToolsProtocol):
    """uvicorn's connection; a request that may be a plain point is held until its body is whole.

    Requests of a connection are started one after the other, so at most one is held.
    """

    def __init__(self, *arguments: Any, points: QuickPoints | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._points = points
        self._held: Held | None = None
        self._seen: tuple[bytes, list[tuple[bytes, bytes]]] | None = None
        self._sender: Sender | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Who does not read its answers waits in `send`, which is where the server waits for it.
        if self._points is None or self.flow.write_paused:
            super()._start_asgi_task(cycle, app)
            return
        sender = self._sender_of(cycle.scope)
        principal = None if sender is None else self._points.principal_of(sender)
        if sender is None or principal is None:
            super()._start_asgi_task(cycle, app)
            return
        now_s = self._points.ingest.clock.monotonic_s()
        self._held = Held(self._points, cycle, app, sender, principal, now_s)
        self._take_whole()

    def _sender_of(self, scope: Any) -> Sender | None:
        seen = (scope["raw_path"], scope["headers"])
        if seen != self._seen or scope["query_string"] or scope["method"] != "POST":
            self._sender = sender_of(scope)
            self._seen = seen if self._sender is not None else None
        return self._sender

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._take_whole()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        super().connection_lost(exc)

    def _take_whole(self) -> None:
        """Queue the held point when its body is there; a body that is not plain goes on."""
        held = self._held
        if held is None or held.cycle.more_body:
            return
        self._held = None
        try:
            queued = queue_plain(held.points.ingest, held.sender.device_id, bytes(held.cycle.body))
        except Exception as error:
            self._refuse(held, error)
            return
        if queued is None:
            super()._start_asgi_task(held.cycle, held.app)
            return
        held.metric_name, done = queued
        done.add_done_callback(partial(self._committed, held))

    def _committed(self, held: Held, done: asyncio.Future[int]) -> None:
        error = done.exception()
        if error is None:
            self._accept(held)
        elif isinstance(error, CatalogStale):
            # Nothing was written; the long way reloads the catalogue.
            super()._start_asgi_task(held.cycle, held.app)
        else:
            self._refuse(held, error)

    def _refuse(self, held: Held, error: BaseException) -> None:
        own_id = _id_of(held)
        answer = answer_of(error, request_id=own_id)
        headers = [*answer.raw_headers(), (b"x-request-id", own_id.encode()), NO_STORE]
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}".encode()
        self._write(held, status, _lines(headers), answer.body)
        held.points.count(held, status=answer.status)

    def _accept(self, held: Held) -> None:
        body = stored_answer(held.sender.device_id, held.metric_name)
        self._write(held, b"200 OK", _ACCEPTED % (len(body), _id_of(held).encode()), body)
        held.points.count(held, status=_OK)

    def _write(self, held: Held, status: bytes, lines: bytes, body: bytes) -> None:
        """Answer as the server's own cycle would, and let the connection go on."""
        cycle = held.cycle
        if cycle.disconnected:
            return
        own = self.server_state.default_headers
        closes = not cycle.keep_alive or _CLOSE in own
        if closes and _CLOSE not in own:
            lines += _lines([_CLOSE])
        parts = (b"HTTP/1.1 ", status, b"\r\n", _lines(own), lines, b"\r\n", body)
        self.transport.write(b"".join(parts))
        cycle.response_started = cycle.response_complete = True
        if closes:
            self.transport.close()
        cycle.on_response()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _id_of(held: Held) -> str:
    if not held.sender.names_request:
        return new_request_id()
    return request_id(list(held.cycle.scope["headers"]))
