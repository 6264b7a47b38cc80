"""The WebSocket side of uvicorn: handshakes go through ASGI, frames of the hub straight to the
socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from daemon.domain.allowance import Allowance
from daemon.live.connection import Connection
from daemon.live.message import Message
from daemon.log import get_logger
from daemon.transport.connections import refusal
from daemon.transport.handshakes import rejection
from daemon.transport.sse import TRANSPORT

OUTLET = "telemetry.outlet"
"""Where the scope's extensions hold the outlet of a connection."""

MESSAGE_BYTES_MAX = 64 * 1024
"""A larger message is answered with close code 1009."""
EARLY_BYTES_MAX = MESSAGE_BYTES_MAX
"""What a client may send before its handshake is answered; over it the connection is cut."""
ABORT_AFTER_S = 5.0
"""A socket that does not take its close frame in this time is cut."""
ABORT_FLOOD_AFTER_S = 1.0
SHUTDOWN_ABORT_AFTER_S = 1.0
HIGH_WATER_BYTES = 32 * 1024
"""Unsent bytes in this process from which on a socket is not clear."""
LOW_WATER_BYTES = 8 * 1024
"""Down to which it becomes clear again."""
SEND_BUFFER_BYTES = 64 * 1024
"""Bytes the kernel keeps for a socket (Linux doubles it): a bound for who reads slowly."""
NOT_SENT_BYTES_MAX = 16 * 1024
"""Bytes the kernel takes that it has not sent: what waits, waits here, where it can be merged."""
SMALL_FRAMES = (5.0, 60)
"""Control frames and fragments a second, and at once; nobody honest needs that many."""
FRAGMENTS_MAX = 64
REASON_BYTES_MAX = 120
TOO_FAST, RESTART = 4029, 1012
_PING = b"\x89\x00"

log = get_logger()


def _quiet() -> logging.Logger:
    """What uvicorn and websockets log names query strings and stacks; the doors log themselves."""
    logger = logging.Logger("websocket")
    logger.disabled = True
    logger.setLevel(logging.CRITICAL)
    return logger


_QUIET = _quiet()


def _nothing() -> None:
    return None


def tune(transport: BaseTransport) -> None:
    """Bounds on what one slow reader holds, in this process and in the kernel."""
    # Not `isinstance`: uvloop's transports are none of asyncio's classes.
    if hasattr(transport, "set_write_buffer_limits"):
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
    plain = transport.get_extra_info("socket")
    if plain is None:
        return
    # A Unix socket has no TCP options.
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES_MAX)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection; it is also the Outlet that the hub writes to.

    `on_clear` is called when it becomes clear again. `connection` is the hub's, once there is one:
    it learns when the client was heard of, and sends heartbeats.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _QUIET
        self.conn.logger = _QUIET
        self.conn.debug = False
        self._server_state = server_state
        self.on_clear: Callable[[], None] = _nothing
        self.on_gone: Callable[[], None] = _nothing
        self.connection: Connection | None = None
        self.close_code: int | None = None
        """The code that this side closed with."""
        self._is_paused = False
        self._is_rechecking = False
        self._is_deaf = self._is_done = False
        self._early: list[bytes] = []
        self._fragments = 0
        self._small_frames = Allowance(*SMALL_FRAMES)
        self._seen_s = 0.0
        self._abort_timer: asyncio.TimerHandle | None = None

    # -- the outlet --------------------------------------------------------------------------

    def write(self, message: Message) -> None:
        """Hand over a message; one that is closing takes none. A heartbeat is a ping, too."""
        if self.close_sent or self.disconnected:
            return
        if message.kind == "ping":
            self.transport.write(_PING)
        self.transport.write(message.websocket)

    @property
    def is_clear(self) -> bool:
        """Whether less than HIGH_WATER_BYTES are unsent; if not, `on_clear` will be called."""
        if self.disconnected:
            return True
        if self._is_paused:
            return False
        if self.transport.get_write_buffer_size() <= HIGH_WATER_BYTES:
            return True
        # Written in this turn of the loop: the socket may still take it all, without a pause.
        if not self._is_rechecking:
            self._is_rechecking = True
            self.loop.call_soon(self._recheck)
        return False

    def _recheck(self) -> None:
        self._is_rechecking = False
        if not self._is_paused and self.is_clear:
            self.on_clear()

    def close(self, code: int, reason: str) -> None:
        """Say why, and go; whoever does not take it in ABORT_AFTER_S is cut."""
        self.end(code, reason, abort_after_s=ABORT_AFTER_S)

    def end(self, code: int, reason: str, *, abort_after_s: float) -> None:
        if self.close_sent or self.disconnected:
            return
        self.close_sent = True
        self.close_code = code
        self.stop_keepalive()
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, _short(reason))
        self._write_output()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._cut_after(abort_after_s)

    # -- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        tune(transport)

    def data_received(self, data: bytes) -> None:
        self._seen_s = self.loop.time()
        if self.connection is not None:
            self.connection.seen_s = self._seen_s
        if self._is_deaf or self.disconnected:
            return
        if self.handshake_initiated and not self.handshake_complete:
            self._keep_early(data)
            return
        try:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self._refuse_handshake()
        except Exception as error:
            # Whatever a frame did to the parser ends its connection and nothing else.
            log.warning("websocket_cut", error=type(error).__name__)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.on_gone()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self._early.clear()
        self.frames.clear()
        # Who waits for it to become clear need not wait any more.
        self.on_clear()
        self._release()

    def pause_writing(self) -> None:
        self._is_paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._is_paused = False
        super().resume_writing()
        self.on_clear()

    def shutdown(self) -> None:
        """The server ends: uvicorn calls it for every connection."""
        if self.close_sent or self.handshake_complete:
            self.end(RESTART, "restart", abort_after_s=SHUTDOWN_ABORT_AFTER_S)
            self._cut_after(SHUTDOWN_ABORT_AFTER_S)
        else:
            self.abort()

    # -- what comes in -----------------------------------------------------------------------

    def handle_connect(self, event: Request) -> None:
        # For so long only: kept, it would lead back here.
        self.conn.reject = self._reject  # type: ignore[method-assign]
        super().handle_connect(event)
        del self.conn.reject
        if self.response.status_code == 101:
            extensions = cast("dict[str, object]", self.scope["extensions"])
            extensions |= {OUTLET: self, TRANSPORT: self.transport}
        else:
            self._cut_after(ABORT_AFTER_S)

    def _reject(self, status: StatusLike, text: str) -> Response:
        """What is answered to a handshake in which something is wrong."""
        return rejection(
            HTTPStatus(status),
            self.conn.handshake_exc,
            self.request,
            headers=self._server_state.default_headers,
        )

    def _refuse_handshake(self) -> None:
        """It has a body, or a header that is too long; uvicorn would leave it without an answer."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(refusal(400, headers=self._server_state.default_headers))
        self.transport.close()
        self._cut_after(ABORT_AFTER_S)

    def _keep_early(self, data: bytes) -> None:
        """Frames that come before the handshake is answered wait for it."""
        self._early.append(data)
        if sum(map(len, self._early)) > EARLY_BYTES_MAX:
            self.abort()

    def start_keepalive(self) -> None:
        """The handshake is answered. The hub sends the pings."""
        early, self._early = self._early, []
        if early:
            self.data_received(b"".join(early))

    def handle_cont(self, event: Frame) -> None:
        self._fragments += 1
        if self._fragments > FRAGMENTS_MAX or not self._may_take_small_frame():
            self.close_flooded("too many frames")
            return
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        self._fragments = 0
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._fragments = 0
        super().handle_bytes(event)

    def handle_ping(self) -> None:
        if not self._may_take_small_frame():
            self.conn.data_to_send()
            self.close_flooded("too many frames")
        elif self.is_clear:
            super().handle_ping()
        else:
            # Who does not read gets no answers; they would pile up here.
            self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        if not self._may_take_small_frame():
            self.close_flooded("too many frames")

    def _may_take_small_frame(self) -> bool:
        return self._small_frames.take(self._seen_s)

    def close_flooded(self, reason: str) -> None:
        """Read nothing more of this client, and close soon."""
        self._is_deaf = True
        self.end(TOO_FAST, reason, abort_after_s=ABORT_FLOOD_AFTER_S)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.end(1007, "the text is not UTF-8", abort_after_s=ABORT_AFTER_S)
                self._is_deaf = True
                self.transport.close()
                return
        super().send_receive_event_to_app()

    def handle_close(self, event: Frame) -> None:
        """The client closes, or answers our close."""
        if not self.close_sent:
            self.close_sent = True
            close = self.conn.close_rcvd
            code = 1005 if close is None else close.code
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._finish()

    def handle_parser_exception(self) -> None:
        """Not a WebSocket frame, or one that is too big: 1002, 1007 or 1009 went out."""
        sent = self.conn.close_sent
        if not self.close_sent and sent is not None:
            self.close_code = sent.code
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason}
            )
        self.close_sent = True
        self._is_deaf = True
        self._finish()

    # -- the end -----------------------------------------------------------------------------

    def _write_output(self) -> None:
        output = b"".join(self.conn.data_to_send())
        if output and not self.disconnected:
            self.transport.write(output)

    def _finish(self) -> None:
        """Send what is under way and close."""
        self._write_output()
        self.stop_keepalive()
        if not self.disconnected:
            self.transport.close()
        self._cut_after(ABORT_AFTER_S)

    def _cut_after(self, seconds: float) -> None:
        if self.disconnected:
            return
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._abort_timer = self.loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """End the socket now, whatever is unsent."""
        self._is_deaf = True
        self.close_sent = True
        self.stop_keepalive()
        if not self.disconnected:
            self.transport.abort()

    async def run_asgi(self) -> None:
        """Run the door; it answers its own errors, so what gets out of it is a defect."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception as error:
            log.error("websocket_failed", error=type(error).__name__, exc_info=True)
        self._is_done = True
        if self.disconnected:
            self._release()
        elif not self.handshake_complete:
            self.abort()
        elif not self.close_sent:
            self.end(RESTART, "", abort_after_s=ABORT_AFTER_S)
        elif self._abort_timer is None:
            self._cut_after(ABORT_AFTER_S)

    def _release(self) -> None:
        """Both the socket and the door are done: let go of what leads back here.

        Otherwise each connection would wait for the next collection of all objects.
        """
        if not (self._is_done and self.disconnected):
            return
        self.on_clear, self.connection = _nothing, None
        self.conn.parser.close()
        cast("dict[str, object]", self.scope["extensions"]).clear()


def _short(reason: str) -> str:
    """What fits into a close frame (RFC 6455, section 5.5)."""
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
