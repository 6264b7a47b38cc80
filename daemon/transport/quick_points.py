"""Single points without a task: the connection itself queues them and writes the answer.

What nearly every device sends is one small request, and the way through ASGI costs more than all
that is done with it. Only a request that the ingest routes would take their own short way with
(transport/plain) is handled here; every other goes to them, whole, as if this was not there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from daemon.domain.access import Principal
from daemon.domain.budgets import UNLIMITED, RateClass, Standing
from daemon.domain.errors import CatalogStale
from daemon.domain.tokens import digest_of
from daemon.service.budget import Budget
from daemon.service.ingest import Ingest
from daemon.transport.access_log import About, AccessLog, Answered, about
from daemon.transport.auth import address_of, note_former, token_of
from daemon.transport.errors import answer_of
from daemon.transport.idempotency import HEADER as IDEMPOTENCY_KEY
from daemon.transport.ingest import CALLS, IngestRoutes, route_of
from daemon.transport.internal_calls import is_internal
from daemon.transport.limits import Gate, header_lines
from daemon.transport.plain import queue_plain, stored_answer
from daemon.transport.proxies import Proxies
from daemon.transport.quick_health import JSON_LINES, QuickHealth
from daemon.transport.request_id import new_request_id, own_trace_id, request_id, trace_id_of
from daemon.transport.security_headers import NO_STORE

LENGTH_DIGITS_MAX = 4
"""Bodies of up to 9,999 bytes are held: they come whole or nearly so."""
# Each needs something that is done on the long way.
_SPECIAL = frozenset(
    {
        b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"origin",
        b"traceparent", b"signature-input", IDEMPOTENCY_KEY,
    }
)  # fmt: skip
_CLOSE = (b"connection", b"close")
# A member of an enumeration takes as long to be found as the answer to be written.
_OK = int(HTTPStatus.OK)
_CALL = CALLS[IngestRoutes.single]


@dataclass(slots=True)
class Sender:
    """What the path and headers of a request say; a connection mostly repeats them. `writer` is
    who it was the last time, if that may write any point, and `budget` what it was counted in."""

    device_id: str
    digest: bytes
    names_request: bool
    writer: Principal | None = None
    budget: Budget | None = None


@dataclass(slots=True)
class Held:
    """A request that is taken without ASGI, should its body be plain."""

    points: QuickPoints
    cycle: RequestResponseCycle
    app: Any
    sender: Sender
    principal: Principal
    about: About
    began_s: float
    metric_name: str = ""
    standing: Standing = UNLIMITED


@dataclass(slots=True)
class QuickPoints:
    """What the connections of a server share."""

    ingest: Ingest
    gate: Gate
    access: AccessLog
    proxies: Proxies = field(default_factory=Proxies)
    health: QuickHealth | None = None
    default: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def default_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The headers of every answer; the server makes a new list of them once a second."""
        if self.default[0] is not headers:
            self.default = (headers, header_lines(headers))
        return self.default[1]

    def principal_of(self, sender: Sender, scope: Scope) -> Principal | None:
        """Who it is, if the key is known and may write any point: others wait for a look at it.

        The use is noted whenever the key was looked up anew: a sender has one address and agent.
        """
        principal = self.gate.keys.cached_of(sender.digest)
        if principal is None or principal is sender.writer:
            return principal
        sender.writer, sender.budget = principal if _writes_everything(principal) else None, None
        if sender.writer is not None:
            self.gate.keys.uses.note(principal, address_of(scope))
            note_former(principal, scope, keys=self.gate.keys)
        return sender.writer

    def count(self, held: Held) -> bool:
        """Count the point against the limit of its key; False where the long way has to."""
        sender, budget = held.sender, held.sender.budget
        if budget is None or not budget.is_held:
            budget = sender.budget = self.gate.limits.held_by(
                held.principal, RateClass.INGEST, address=held.about.remote
            )
            if budget is None:
                return True
        standing = budget.take(1, self.ingest.clock.monotonic_s())
        held.standing = standing or UNLIMITED
        return standing is not None

    def give_back(self, held: Held) -> None:
        """The long way counts it again."""
        self.gate.limits.give_back(held.principal, RateClass.INGEST, address=held.about.remote)

    def note(self, held: Held, own_id: str, *, status: int, size_bytes: int) -> None:
        counters = self.ingest.counters
        counters.requests += 1
        now_s, stored = self.ingest.clock.monotonic_s(), 1
        if status != _OK:
            counters.failed_requests += 1
            stored = 0
        answered = Answered(status, now_s - held.began_s, size_bytes, now_s, stored, stored)
        trace_id = trace_id_of(own_id) if held.sender.names_request else own_trace_id(own_id)
        self.access.note(held.about, answered, request_id=own_id, trace_id=trace_id)


def _writes_everything(principal: Principal) -> bool:
    scopes = principal.scopes
    may = principal.sees_everything and ("ingest" in scopes or "admin" in scopes)
    return may and principal.signing_key is None


def sender_of(scope: Scope) -> Sender | None:
    """Who sends a single point; None when the request is none, or needs a closer look."""
    if scope["method"] != "POST" or scope["query_string"]:
        return None
    found = route_of(scope["raw_path"])
    if found is None or found[0] is not IngestRoutes.single:
        return None
    has_length = names_request = False
    for name, value in scope["headers"]:
        if name in _SPECIAL or is_internal(name):
            return None
        if name == b"content-length":
            has_length = len(value) <= LENGTH_DIGITS_MAX
        elif name == b"x-request-id":
            names_request = True
    token = token_of(scope["headers"]) if has_length else None
    return None if token is None else Sender(found[1], digest_of(token), names_request)


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
        self._about: About | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Who does not read its answers waits in `send`, which is where the server waits for it.
        if self._points is None or self.flow.write_paused:
            super()._start_asgi_task(cycle, app)
            return
        if self._points.proxies.trusted:
            self._points.proxies.find_client(cast(Any, cycle.scope))
        sender = self._sender_of(cycle.scope)
        principal = None
        if sender is not None:
            principal = self._points.principal_of(sender, cast(Any, cycle.scope))
        if sender is None or principal is None:
            if sender is not None or not self._tell_health(cycle):
                super()._start_asgi_task(cycle, app)
            return
        now_s = self._points.ingest.clock.monotonic_s()
        self._held = Held(
            self._points, cycle, app, sender, principal, self._about_of(cycle, principal), now_s
        )
        self._take_whole()

    def _tell_health(self, cycle: RequestResponseCycle) -> bool:
        """Answer at once when it is only asked how we are; False when it is not."""
        health = None if self._points is None else self._points.health
        answer = None if health is None else health.answer(cast(Any, cycle.scope))
        if answer is None:
            return False
        status, lines, body = answer
        self._write(cycle, status, lines, body)
        return True

    def _sender_of(self, scope: Any) -> Sender | None:
        seen = (scope["raw_path"], scope["headers"])
        if seen != self._seen or scope["query_string"] or scope["method"] != "POST":
            self._sender, self._about = sender_of(scope), None
            self._seen = seen if self._sender is not None else None
        return self._sender

    def _about_of(self, cycle: RequestResponseCycle, principal: Principal) -> About:
        if self._about is None:
            path, address = cycle.scope["path"], address_of(cycle.scope)
            self._about = about(_CALL, path, principal, address)
        return self._about

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = self.cycle
        if cycle is not None:
            # Of a request that was answered early, too: then nothing more is waited for.
            cycle.more_body = False
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
            if not held.points.count(held):
                super()._start_asgi_task(held.cycle, held.app)
                return
            queued = queue_plain(held.points.ingest, held.sender.device_id, bytes(held.cycle.body))
        except Exception as error:
            self._refuse(held, error)
            return
        if queued is None:
            held.points.give_back(held)
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
            held.points.give_back(held)
            super()._start_asgi_task(held.cycle, held.app)
        else:
            self._refuse(held, error)

    def _refuse(self, held: Held, error: BaseException) -> None:
        own_id = _id_of(held)
        answer = answer_of(error, request_id=own_id)
        headers = [*answer.raw_headers(), (b"x-request-id", own_id.encode()), NO_STORE]
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}".encode()
        lines = header_lines(headers) + held.points.gate.lines_of(held.standing)
        self._write(held.cycle, status, lines, answer.body)
        held.points.note(held, own_id, status=answer.status, size_bytes=len(answer.body))

    def _accept(self, held: Held) -> None:
        body = stored_answer(held.sender.device_id, held.metric_name)
        own_id = _id_of(held)
        lines = JSON_LINES % (len(body), own_id.encode())
        lines += held.points.gate.lines_of(held.standing)
        self._write(held.cycle, b"200 OK", lines, body)
        held.points.note(held, own_id, status=_OK, size_bytes=len(body))

    def _write(self, cycle: RequestResponseCycle, status: bytes, lines: bytes, body: bytes) -> None:
        """Answer as the server's own cycle would, and let the connection go on."""
        if cycle.disconnected:
            return
        own = self.server_state.default_headers
        closes = not cycle.keep_alive or _CLOSE in own
        if closes and _CLOSE not in own:
            lines += header_lines([_CLOSE])
        assert self._points is not None
        default = self._points.default_lines(own)
        parts = (b"HTTP/1.1 ", status, b"\r\n", default, lines, b"\r\n", body)
        self.transport.write(b"".join(parts))
        cycle.response_started = cycle.response_complete = True
        if closes:
            self.transport.close()
        if self.pipeline:
            # Not from within: each would nest in the answer before it.
            self.loop.call_soon(cycle.on_response)
        else:
            cycle.on_response()


def _id_of(held: Held) -> str:
    if not held.sender.names_request:
        return new_request_id()
    return request_id(list(held.cycle.scope["headers"]))
