"""How long one HTTP connection has kept the server waiting, as walks over all of them find it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any, Literal

from daemon.transport.connections import ConnectionBounds

RATE_GRACE_S = 5.0
"""How long a body may take before its rate is looked at."""
LONG_LIVED = "telemetry.long_lived"
"""In the scope's extensions: the answer goes on by design, and its owner bounds it."""
_TCP_INFO_BYTES = 136
_ACKED_AT = 120
"""Of tcpi_bytes_acked in struct tcp_info (linux/tcp.h); tcpi_bytes_received follows."""

Stage = Literal["connect", "header", "body", "answer", "idle"]


@dataclass(slots=True)
class Patience:
    """What the walks remember of a connection; `request` is the scope that `stage` is of."""

    request: Any = None
    stage: Stage | None = None
    since_s: float = 0.0
    walked_s: float = 0.0
    received_bytes: int = 0
    unread_since_s: float | None = None
    taken_bytes: int = 0

    def overdue(self, connection: Any, now_s: float, bounds: ConnectionBounds) -> str | None:
        """Why the connection is to end; None when it may go on."""
        stage, request = stage_of(connection), connection.scope
        if stage != self.stage or request is not self.request:
            self.stage, self.request, self.since_s = stage, request, now_s
            self.received_bytes = -1
        elif not is_clients_turn(connection, stage):
            self.since_s += now_s - self.walked_s
        self.walked_s = now_s
        return self._late_reading(connection, now_s, bounds) or self._late_writing(
            connection, now_s, bounds
        )

    def _late_reading(self, connection: Any, now_s: float, bounds: ConnectionBounds) -> str | None:
        waited_s = now_s - self.since_s
        match self.stage:
            case "connect" | "header":
                return self.stage if waited_s >= bounds.header_s else None
            case "idle":
                return "idle" if waited_s >= bounds.idle_s else None
            case "body":
                if waited_s >= bounds.body_s or self._is_trickle(connection, waited_s, bounds):
                    return "body"
        return None

    def _is_trickle(self, connection: Any, waited_s: float, bounds: ConnectionBounds) -> bool:
        _, received = bytes_of(connection.transport)
        if self.received_bytes < 0:
            self.received_bytes = received
        wanted = bounds.bytes_per_s_min * waited_s
        is_known = received > 0
        return is_known and waited_s >= RATE_GRACE_S and received - self.received_bytes < wanted

    def _late_writing(self, connection: Any, now_s: float, bounds: ConnectionBounds) -> str | None:
        """An answer has to be taken with the least rate, looked at over each `write_s`."""
        unsent = connection.transport.get_write_buffer_size()
        if not unsent or is_long_lived(connection):
            self.unread_since_s = None
            return None
        acknowledged, _ = bytes_of(connection.transport)
        # Where the kernel does not tell, what left our own buffer has to do.
        taken = acknowledged or -unsent
        if self.unread_since_s is None:
            self.unread_since_s, self.taken_bytes = now_s, taken
            return None
        waited_s = now_s - self.unread_since_s
        if waited_s < bounds.write_s:
            return None
        if taken - self.taken_bytes < bounds.bytes_per_s_min * waited_s:
            return "write"
        self.unread_since_s, self.taken_bytes = now_s, taken
        return None


def stage_of(connection: Any) -> Stage:
    """Where the newest request of a connection of uvicorn is."""
    scope, cycle = connection.scope, connection.cycle
    if scope is None:
        return "connect"
    if cycle is None or cycle.scope is not scope:
        return "header"
    if cycle.more_body:
        return "body"
    return "idle" if cycle.response_complete else "answer"


def is_clients_turn(connection: Any, stage: Stage) -> bool:
    """Whether it is the client that the server waits for."""
    cycle = connection.cycle
    if stage == "header":
        # The answer before it is under way.
        return cycle is None or bool(cycle.response_complete)
    if stage == "body":
        return not (connection.flow.read_paused or cycle.waiting_for_100_continue)
    return True


def is_long_lived(connection: Any) -> bool:
    cycle = connection.cycle
    return cycle is not None and LONG_LIVED in cycle.scope.get("extensions", ())


def bytes_of(transport: Any) -> tuple[int, int]:
    """Bytes of a connection that the client acknowledged and that it sent; zeros where the kernel
    does not tell (man 7 tcp, TCP_INFO)."""
    plain = transport.get_extra_info("socket")
    if plain is None or not hasattr(socket, "TCP_INFO"):
        return 0, 0
    try:
        info = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0, 0
    if len(info) < _TCP_INFO_BYTES:
        return 0, 0
    acknowledged, received = struct.unpack_from("QQ", info, _ACKED_AT)
    return acknowledged, received
