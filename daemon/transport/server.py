"""The HTTP server in our own loop: uvicorn without its signal handling, on a socket that we
bound."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from daemon.domain.errors import DomainError
from daemon.transport.access_log import REFUSED
from daemon.transport.connections import (
    TURNED_AWAY_MAX,
    ConnectionBounds,
    Connections,
    TurnedAway,
    refusal,
)
from daemon.transport.leaving import Leaving
from daemon.transport.patience import Patience
from daemon.transport.quick_points import Held, QuickConnection, QuickPoints
from daemon.transport.request_id import new_request_id, request_id_of
from daemon.transport.security_headers import ON_EVERY_ANSWER
from daemon.transport.sse import TRANSPORT
from daemon.transport.websocket import MESSAGE_BYTES_MAX, WebSocketProtocol

BACKLOG = 2048
KEEP_ALIVE_S = 75
LAST_REQUEST_S = 0.25
"""How long kept connections have for their last request after `say_goodbye`."""
HEAD_BYTES_MAX = 64 * 1024
"""What a request may have before its body, not counting the read in which it begins."""
_REFUSED = {"header": 408, "body": 408, "head": 431, "broken": 400}
"""What a request that did not come whole is answered, by the reason it is ended for."""
UNSENT_BYTES_MAX = 128 * 1024
"""Of an answer, what the kernel takes before it is sent: who does not read costs it no more."""
_CLOSE = (b"connection", b"close")
_FIRST_GIVEN = 3
_SO_ATTACH_FILTER = 26
_LINGER_NOT = struct.pack("ii", 1, 0)
_BPF_NO_SYN = (
    struct.pack("HBBI", 0x30, 0, 0, 13),
    struct.pack("HBBI", 0x45, 0, 1, 0x02),
    struct.pack("HBBI", 0x06, 0, 0, 0),
    struct.pack("HBBI", 0x06, 0, 0, 0xFFFF_FFFF),
)
"""Load the flags of the TCP header: a segment with SYN is dropped, any other is kept, so that who
is half connected becomes whole (linux/filter.h; RFC 9293, 3.1)."""


class HttpProtocol(Leaving, QuickConnection):
    """HTTP/1.1 that shows an application its connection: to bound what it holds, and to cut it.

    How long it may keep the server waiting is looked at by `walks`, which also count it.
    """

    def __init__(self, *arguments: Any, walks: Connections | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._walks = walks
        self._patience = Patience()
        self._address: str | None = None
        """Whose connections this one is counted among; "" is a socket in the file system."""
        self._head: Any = None
        self._head_bytes = 0
        self._answering: RequestResponseCycle | None = None
        """The request under way; `cycle` is the last that came."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        walks = self._walks
        if walks is None:
            return
        address = self.client[0] if self.client else ""
        reason = walks.enter(address)
        if reason is None:
            self._address = address
            return
        walks.ended[reason] += 1
        self.connections.discard(self)
        if walks.turned_away < TURNED_AWAY_MAX:
            headers = self.server_state.default_headers
            transport.set_protocol(TurnedAway(walks, transport, headers=headers))
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None and self._walks is not None:
            self._walks.leave(self._address)
            self._address = None
        self.leave()
        if self._answering is not None:
            # uvicorn tells the last one only; this one would write to what is closed.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def overdue(self, now_s: float, bounds: ConnectionBounds) -> str | None:
        return self._patience.overdue(self, now_s, bounds)

    def end(self, reason: str) -> None:
        """An error where an answer is still owed for a request that did not come whole; else just
        the end."""
        held, self._held = self._held, None
        cycle, transport = self.cycle, self.transport
        if reason == "write":
            _reset(transport)
            return
        status, is_in_body = _REFUSED.get(reason), cycle is not None and cycle.scope is self.scope
        if is_in_body:
            is_unanswered = not cycle.response_started
        else:
            is_unanswered = cycle is None or cycle.response_complete
        if status is not None and is_unanswered and not transport.is_closing():
            self._refuse_broken(status, begun=cycle if is_in_body else None, held=held)
        if status is not None and is_in_body and not cycle.response_complete:
            # Whoever waits for the body hears that the client is gone.
            cycle.disconnected = True
            cycle.message_event.set()
        transport.close()

    def _refuse_broken(
        self, status: int, *, begun: RequestResponseCycle | None, held: Held | None
    ) -> None:
        """Answer, and let it be noted; whoever waits for the body of `begun` does that itself."""
        own_id = new_request_id() if begun is None else request_id_of(cast(Any, begun.scope))
        answer = refusal(status, headers=self.server_state.default_headers, own_id=own_id)
        self.transport.write(answer)
        size_bytes = len(answer.partition(b"\r\n\r\n")[2])
        if begun is not None:
            cast(Any, begun.scope)["state"][REFUSED] = status, size_bytes
        if self._points is None:
            return
        if held is not None:
            self._points.note(held, own_id, status=status, size_bytes=size_bytes)
        elif begun is None:
            remote = self.client[0] if self.client else ""
            self._points.access.note_broken(status, size_bytes, remote=remote, request_id=own_id)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. A request before it, which was whole, is still answered."""
        cycle = self.cycle
        is_owed = cycle is not None and not cycle.response_complete
        if is_owed and (cycle.scope is not self.scope or not cycle.more_body):
            cycle.keep_alive = False
        else:
            self.end("broken")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        scope, cycle = self.scope, self.cycle
        if scope is not None and (cycle is None or cycle.scope is not scope or cycle.more_body):
            self._bound_head(len(data))

    def on_body(self, body: bytes) -> None:
        # What comes without any after it is a trailer, or says how long chunks are.
        self._head = None
        super().on_body(body)

    def _bound_head(self, read_bytes: int) -> None:
        """Count what comes of a head that is not whole, and in a body what is none of it. How much
        of the read that it began in is of something else, nobody knows."""
        if self._head is not self.scope:
            self._head, self._head_bytes = self.scope, 0
            return
        self._head_bytes += read_bytes
        # A connection that is another protocol's now has no parser any more.
        is_ours = self.parser is not None and not self.transport.is_closing()
        if self._head_bytes > HEAD_BYTES_MAX and is_ours:
            if self._walks is not None:
                self._walks.ended["head"] += 1
            self.end("head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {TRANSPORT: self.transport}

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; the parser leads back here, and nobody else takes it away."""
        super().handle_websocket_upgrade()
        upgraded, walks, address = self.transport.get_protocol(), self._walks, self._address
        if isinstance(upgraded, WebSocketProtocol) and walks is not None and address is not None:
            # It is counted until it is gone; this object is not needed so long.
            upgraded.on_gone = partial(walks.leave, address)
            self._address = None
        self.parser = None  # type: ignore[assignment]  # as uvicorn does when it is lost


class Server(uvicorn.Server):
    """Serves until `should_exit`; the daemon handles signals itself, so that draining is in one
    place. Its `walks` are over its connections; somebody else does them."""

    walks: Connections

    def say_goodbye(self) -> None:
        """Close each open connection with its next answer.

        Without it a client that has just sent a request on a kept connection would lose it.
        """
        if not self.config.loaded:
            self.config.load()
        # uvicorn makes the default headers anew every second, from those of its configuration.
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    def close_port(self) -> None:
        """Take no more connections; who stands in the queue is cut, see `has_queued`."""
        # It may still be starting.
        for listening in getattr(self, "servers", ()):
            listening.close()

    @property
    def has_newcomers(self) -> bool:
        """Whether a connection has not sent its first request: it is probably under way."""
        return any(getattr(one, "cycle", one) is None for one in self.server_state.connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _reset(transport: asyncio.Transport) -> None:
    """Cut it, and let the kernel forget what it holds for the client (man 7 socket, SO_LINGER)."""
    plain = transport.get_extra_info("socket")
    if plain is not None:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError when the address is taken."""
    return _listen(host, port, is_shared=False)


class InheritedSocket(socket.socket):
    """A listening socket that the service manager holds too."""


def inherited(environment: MutableMapping[str, str]) -> InheritedSocket | None:
    """The socket that the service manager opened for us (man 3 sd_listen_fds), if it did.

    Raises DomainError when it opened several. The words are taken out, so that no child takes it.
    """
    count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if not count or pid != str(os.getpid()):
        return None
    if count != "1":
        raise DomainError("the service manager gave several sockets", code="one_socket_only")
    bound = InheritedSocket(fileno=_FIRST_GIVEN)
    bound.set_inheritable(False)
    bound.setblocking(False)
    _bound_unsent(bound)
    return bound


def share(bound: socket.socket) -> None:
    """Let sockets of `bind_beside` have the same port.

    After the bind, so that the port was nobody else's before; only programs of this user may join.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def bind_beside(host: str, port: int) -> socket.socket:
    """A further listening socket of a shared port: the kernel spreads connections over all of them.

    One socket that all accept from would be emptied by whoever is awake: measured, one of two
    processes got 950 of 1,000 connections. Raises OSError when the port is not shared.
    """
    return _listen(host, port, is_shared=True)


def admit_no_more(listening: socket.socket) -> None:
    """Let the kernel ignore who connects from now on; who stands in the queue is still accepted
    (see `has_queued`), and who is half connected comes into it.

    Closing at once would reset those. A packet filter does it (man 7 socket, SO_ATTACH_FILTER);
    where there is none, a queue of one place. A socket of the service manager outlives us: who
    connects to it waits for the next daemon.
    """
    if isinstance(listening, InheritedSocket):
        return
    try:
        attach_filter(listening, _BPF_NO_SYN)
    except OSError:
        listening.listen(0)


def attach_filter(to: socket.socket, instructions: Sequence[bytes]) -> None:
    """Let the kernel judge what comes for a socket (man 7 socket). Raises OSError."""
    program = ctypes.create_string_buffer(b"".join(instructions))
    pointed_to = struct.pack("HL", len(instructions), ctypes.addressof(program))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointed_to)


def has_queued(listening: socket.socket) -> bool:
    """Whether a connection waits to be accepted by us, and by nobody after us.

    uvloop accepts one in each of its rounds: a long queue takes many, however short they are.
    """
    if isinstance(listening, InheritedSocket):
        return False
    asked = select.poll()
    asked.register(listening, select.POLLIN)
    return bool(asked.poll(0))


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    _bound_unsent(bound)
    return bound


def _bound_unsent(listening: socket.socket) -> None:
    """Connections inherit it (man 7 tcp, TCP_NOTSENT_LOWAT); one in the file system has no such
    thing."""
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


def make_server(
    app: ASGIApp,
    *,
    drain_timeout_s: float,
    points: QuickPoints | None = None,
    bounds: ConnectionBounds | None = None,
    is_exempt: Callable[[str], bool] = lambda _: False,
) -> Server:
    """A server for `serve(sockets=[...])`; on exit it waits `drain_timeout_s` for answers under
    way. With `points`, plain ones do not go through the app. `is_exempt` tells the addresses that
    may have any number of connections."""
    made = Server(
        uvicorn.Config(
            app,
            interface="asgi3",
            ws=WebSocketProtocol,
            ws_max_size=MESSAGE_BYTES_MAX,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=ON_EVERY_ANSWER,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(drain_timeout_s),
            backlog=BACKLOG,
        )
    )
    made.walks = Connections(
        made.server_state.connections, bounds or ConnectionBounds(), is_exempt=is_exempt
    )
    made.config.http = cast(Any, partial(HttpProtocol, points=points, walks=made.walks))
    return made
