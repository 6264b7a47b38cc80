"""A channel as server-sent events: one request whose answer goes on. What is sent when is the
hub's."""

from __future__ import annotations

import asyncio
from typing import cast

from starlette.types import Receive, Scope, Send

from daemon.log import get_logger
from daemon.service.streams import Stream
from daemon.transport import origin
from daemon.transport.auth import address_of
from daemon.transport.errors import ErrorAnswer, answer_of
from daemon.transport.patience import LONG_LIVED
from daemon.transport.problems import problem
from daemon.transport.reception import Reception
from daemon.transport.request_id import request_id_of
from daemon.transport.security_headers import NO_STORE
from daemon.transport.sse import HEADERS, TRANSPORT, SseOutlet, until_gone
from daemon.transport.stream_errors import NoSuchStream, WrongOrigin
from daemon.transport.stream_requests import cursor_in, door_of, query_of, shown_in
from daemon.transport.websocket import tune

log = get_logger()

_MEDIA_TYPES = ("text/event-stream", "text/*", "*/*")


class SseDoor:
    """Errors before the first event are problems."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._parts = reception.parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refused_method(scope)
        stream: Stream | None = None
        transport = _transport_of(scope)
        outlet = SseOutlet(abort=transport.abort)
        if refusal is None:
            try:
                stream = await self._open(scope, outlet)
            except Exception as error:
                refusal = answer_of(error, request_id=request_id_of(scope))
        if stream is None:
            assert refusal is not None
            await self._refuse(scope, refusal, send)
            return
        began_s = self._parts.clock.monotonic_s()
        tune(transport)
        scope["extensions"][LONG_LIVED] = True
        try:
            headers = [*HEADERS, _id_header(scope), *self._parts.gate.headers(scope)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _serve(outlet, receive, send)
        finally:
            outlet.gone()
            self._parts.streams.close(stream)
            log.info(
                "stream_closed",
                connection_id=stream.connection.id,
                code=outlet.close_code,
                duration_s=round(self._parts.clock.monotonic_s() - began_s, 3),
            )

    async def _open(self, scope: Scope, outlet: SseOutlet) -> Stream:
        """The stream with its subscription. Raises DomainError."""
        if not origin.is_allowed(scope["headers"], origins=self._parts.origins):
            raise WrongOrigin()
        door = door_of(scope["path"])
        if door is None:
            raise NoSuchStream()
        query = query_of(scope)
        cursor = cursor_in(scope, query)
        visitor = await self._reception.identify(shown_in(scope, query), door, scope=scope)
        scope.setdefault("state", {})["principal"] = visitor.principal
        slot = await self._reception.admit(visitor, cursor=cursor, scope=scope)
        try:
            wanted = await self._reception.wanted(door, visitor, query, cursor=cursor)
            assert wanted is not None
            streams = self._parts.streams
            stream = streams.open(outlet, visitor, slot=slot, is_mute=True)
        except BaseException:
            slot.take_back()
            raise
        try:
            outlet.on_clear = lambda: streams.drained(stream)
            streams.welcome(stream)
            await streams.subscribe(stream, wanted)
        except BaseException:
            slot.take_back()
            streams.close(stream)
            raise
        log.info(
            "stream_opened",
            door="sse",
            channel=door.channel,
            connection_id=stream.connection.id,
            principal=visitor.principal.key_id,
            address=address_of(scope),
            request_id=request_id_of(scope),
        )
        return stream

    async def _refuse(self, scope: Scope, refusal: ErrorAnswer, send: Send) -> None:
        log.info(
            "stream_refused", door="sse", status=refusal.status, request_id=request_id_of(scope)
        )
        headers = [*refusal.raw_headers(), _id_header(scope), NO_STORE]
        headers += self._parts.gate.headers(scope)
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": refusal.body})


def _id_header(scope: Scope) -> tuple[bytes, bytes]:
    return b"x-request-id", request_id_of(scope).encode("ascii")


async def _serve(outlet: SseOutlet, receive: Receive, send: Send) -> None:
    """Until the answer is complete, or the client has gone."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(outlet, receive))
        await outlet.pump(send)
        watching.cancel()


async def _watch(outlet: SseOutlet, receive: Receive) -> None:
    await until_gone(receive)
    outlet.gone()


def _refused_method(scope: Scope) -> ErrorAnswer | None:
    """405 for another method than GET, 406 for who does not take events; else None."""
    own_id = request_id_of(scope)
    if scope["method"] != "GET":
        body = problem(
            405,
            code="method_not_allowed",
            detail="The path does not know this method.",
            request_id=own_id,
        )
        return ErrorAnswer(405, body, [(b"allow", b"GET")])
    accepted = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    if not accepted or any(kind in text for text in accepted for kind in _MEDIA_TYPES):
        return None
    body = problem(
        406,
        code="not_acceptable",
        detail="A stream is text/event-stream, or a WebSocket; GET /changes answers JSON.",
        request_id=own_id,
    )
    return ErrorAnswer(406, body)


def _transport_of(scope: Scope) -> asyncio.Transport:
    return cast(asyncio.Transport, scope["extensions"][TRANSPORT])
