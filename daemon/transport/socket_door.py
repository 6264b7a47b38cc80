"""A WebSocket from its handshake to its end: who it is, what it says, and what that does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from daemon.domain.allowance import Allowance
from daemon.domain.errors import DomainError, Invalid, RateLimited, Unauthenticated
from daemon.log import get_logger
from daemon.service.stream_limits import Slot
from daemon.service.streams import Stream, Visitor
from daemon.transport import origin, socket_actions
from daemon.transport.auth import address_of
from daemon.transport.errors import answer_of
from daemon.transport.reception import Reception
from daemon.transport.request_id import request_id_of
from daemon.transport.security_headers import NO_STORE, ON_EVERY_ANSWER
from daemon.transport.stream_errors import (
    UNKNOWN,
    NoSuchStream,
    WrongOrigin,
    close_code_of,
    error_message,
    error_of,
)
from daemon.transport.stream_requests import (
    Door,
    Query,
    Shown,
    cursor_in,
    door_of,
    query_of,
    shown_in,
    subprotocol_of,
)
from daemon.transport.websocket import OUTLET, WebSocketProtocol

log = get_logger()

AUTH_WITHIN_S = 5.0
MESSAGES = (10.0, 20)
"""Messages that a client may send a second, and at once."""
STRIKES = (1.0, 20)
"""Messages over that which are answered with a warning, a second and at once; then it is closed."""


@dataclass(slots=True)
class Visit:
    """One socket: what its handshake said, and what became of it."""

    scope: Scope
    receive: Receive
    outlet: WebSocketProtocol
    address: str
    door: Door = field(default_factory=Door)
    query: Query = field(default_factory=list)
    cursor: str | None = None
    stream: Stream | None = None


class SocketDoor:
    """Always accepts, then closes with a code that says why: browsers see no other reason.

    Only a page that may not come here is refused before the upgrade (contract 8.1).
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._parts = reception.parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if not origin.is_allowed(scope["headers"], origins=self._parts.origins):
            await _refuse_origin(scope, send)
            return
        headers = [(b"x-request-id", request_id_of(scope).encode("ascii"))]
        accept = {"type": "websocket.accept", "subprotocol": subprotocol_of(scope)}
        await send(accept | {"headers": headers})
        visit = Visit(scope, receive, scope["extensions"][OUTLET], address_of(scope))
        began_s = self._parts.clock.monotonic_s()
        try:
            await self._welcome(visit)
            await self._listen(visit)
        except _Gone:
            pass
        except Exception as error:
            self._end(visit, error)
        finally:
            self._leave(visit, began_s)

    # -- in ----------------------------------------------------------------------------------

    async def _welcome(self, visit: Visit) -> None:
        """Authenticate, open, and subscribe to what the address says. Raises DomainError."""
        door = door_of(visit.scope["path"])
        if door is None:
            raise NoSuchStream()
        visit.door = door
        visit.query = query_of(visit.scope)
        visit.cursor = cursor_in(visit.scope, visit.query)
        visitor = await self._identify(visit)
        slot = await self._reception.admit(visitor, cursor=visit.cursor, scope=visit.scope)
        try:
            wanted = await self._reception.wanted(door, visitor, visit.query, cursor=visit.cursor)
            self._open(visit, visitor, slot)
        except BaseException:
            slot.take_back()
            raise
        if wanted is None:
            return
        assert visit.stream is not None
        if door.subscription_id is not None:
            self._parts.subscriptions.hold(door.subscription_id, visit.stream.cancelled)
        await self._parts.streams.subscribe(visit.stream, wanted, key=door.subscription_id)

    async def _identify(self, visit: Visit) -> Visitor:
        shown = shown_in(visit.scope, visit.query)
        if shown != Shown():
            return await self._reception.identify(shown, visit.door, scope=visit.scope)
        # Until it has said who it is, it counts against its address.
        slot = self._parts.limits.open_of_address(visit.address)
        try:
            shown = Shown(token=await _token_said(visit.receive))
            visitor = await self._reception.identify(
                shown, visit.door, scope=visit.scope, is_said=True
            )
        except BaseException:
            slot.close()
            raise
        slot.take_back()
        return visitor

    def _open(self, visit: Visit, visitor: Visitor, slot: Slot) -> None:
        streams, outlet = self._parts.streams, visit.outlet
        stream = streams.open(outlet, visitor, slot=slot)
        visit.stream = stream
        stream.on_cancelled = lambda: outlet.close(UNKNOWN, "the subscription was cancelled")
        outlet.on_clear = lambda: streams.drained(stream)
        outlet.connection = stream.connection
        log.info(
            "stream_opened",
            door=visit.door.name,
            connection_id=stream.connection.id,
            principal=visitor.principal.key_id,
            address=visit.address,
            request_id=request_id_of(visit.scope),
        )
        streams.welcome(stream)

    # -- inside ------------------------------------------------------------------------------

    async def _listen(self, visit: Visit) -> None:
        """Do what the client says until it goes. Raises _Gone."""
        stream = visit.stream
        assert stream is not None
        messages, strikes = Allowance(*MESSAGES), Allowance(*STRIKES)
        clock = self._parts.clock
        while True:
            said = await _next_message(visit.receive)
            now_s = clock.monotonic_s()
            stream.connection.heard_s = now_s
            if not messages.take(now_s):
                self._refuse_flood(visit, strikes, now_s)
                continue
            try:
                # Who does not read is not answered, nor read: answers would pile up here.
                await self._parts.streams.until_clear(stream)
                await socket_actions.act(self._parts, stream, said)
            except TimeoutError:
                self._parts.streams.close_slow(stream)
            except Exception as error:
                if not isinstance(error, DomainError):
                    log.error("stream_action_failed", exc_info=True)
                self._parts.streams.say(stream, "error", error_of(error))

    def _refuse_flood(self, visit: Visit, strikes: Allowance, now_s: float) -> None:
        """Say that a message was not looked at; who goes on is closed."""
        assert visit.stream is not None
        if strikes.take(now_s):
            refusal = RateLimited("too many messages; this one was not looked at", retry_after_s=1)
            self._parts.streams.say(visit.stream, "error", error_of(refusal))
        else:
            visit.outlet.close_flooded("too many messages")

    # -- out ---------------------------------------------------------------------------------

    def _end(self, visit: Visit, error: Exception) -> None:
        """Say why, and close."""
        code = close_code_of(error)
        reason = error.detail if isinstance(error, DomainError) else "internal error"
        if isinstance(error, DomainError):
            log.info(
                "stream_refused",
                door=visit.door.name,
                code=code,
                error=error.error_code,
                address=visit.address,
                request_id=request_id_of(visit.scope),
            )
        else:
            log.error("stream_failed", request_id=request_id_of(visit.scope), exc_info=True)
        visit.outlet.write(error_message(error, self._parts.clock))
        visit.outlet.close(code, reason)

    def _leave(self, visit: Visit, began_s: float) -> None:
        stream = visit.stream
        if stream is None:
            return
        visit.outlet.connection = None
        self._parts.streams.close(stream)
        log.info(
            "stream_closed",
            connection_id=stream.connection.id,
            code=visit.outlet.close_code,
            duration_s=round(self._parts.clock.monotonic_s() - began_s, 3),
        )
        if visit.door.subscription_id is not None:
            subscriptions = self._parts.subscriptions
            subscriptions.release(visit.door.subscription_id, stream.cancelled)


class _Gone(Exception):
    """The socket is closed, by whichever side."""


async def _next_message(receive: Receive) -> bytes | str:
    message: Message = await receive()
    if message["type"] != "websocket.receive":
        raise _Gone
    said: bytes | str | None = message.get("text")
    return message["bytes"] if said is None else said


async def _token_said(receive: Receive) -> str:
    """The key of a first message `{"action": "auth", "token"}`. Raises Unauthenticated, _Gone."""
    try:
        async with asyncio.timeout(AUTH_WITHIN_S):
            said = socket_actions.decoded(await _next_message(receive))
    except TimeoutError:
        raise Unauthenticated(f"no credential came within {AUTH_WITHIN_S:.0f} seconds") from None
    except Invalid as error:
        raise Unauthenticated() from error
    token: Any = said.get("token")
    if said.get("action") != "auth" or not isinstance(token, str):
        raise Unauthenticated("the first message is to be an auth action with a token")
    return token


async def _refuse_origin(scope: Scope, send: Send) -> None:
    own_id = request_id_of(scope)
    log.info("stream_refused", error=WrongOrigin.code, request_id=own_id)
    refusal = answer_of(WrongOrigin(), request_id=own_id)
    # The server writes those of every answer on none of a socket's.
    every = [(name.encode(), value.encode()) for name, value in ON_EVERY_ANSWER]
    said_id = (b"x-request-id", own_id.encode("ascii"))
    headers = [*refusal.raw_headers(), said_id, NO_STORE, *every]
    start = {"type": "websocket.http.response.start", "status": refusal.status}
    await send(start | {"headers": headers})
    await send({"type": "websocket.http.response.body", "body": refusal.body})
