"""How long one HTTP connection has kept the server waiting, as walks over all of them find it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from daemon.transport.connections import ConnectionBounds

RATE_GRACE_S = 5.0
"""How long a body may take before its rate is looked at."""
LONG_LIVED = "telemetry.long_lived"
"""In the scope's extensions: the answer goes on by design, and its owner bounds it."""
REST_S = 2.0
"""How long a connection has no request before it is looked at whether the last answer arrived."""
# Of struct tcp_info (linux/tcp.h): tcpi_unacked; tcpi_bytes_acked, tcpi_bytes_received, two others,
# tcpi_notsent_bytes.
_UNACKED_AT, _ACKED_AT, _INFO_BYTES = 24, 120, 148

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
    is_taken: bool = False

    def overdue(self, connection: Any, now_s: float, bounds: ConnectionBounds) -> str | None:
        """Why the connection is to end; None when it may go on."""
        stage, request = stage_of(connection), connection.scope
        if stage != self.stage or request is not self.request:
            self.stage, self.request, self.since_s = stage, request, now_s
            self.received_bytes, self.is_taken = -1, False
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
        flow = flow_of(connection.transport)
        if flow is None:
            return False
        if self.received_bytes < 0:
            self.received_bytes = flow.received_bytes
        came = flow.received_bytes - self.received_bytes
        return waited_s >= RATE_GRACE_S and came < bounds.bytes_per_s_min * waited_s

    def _late_writing(self, connection: Any, now_s: float, bounds: ConnectionBounds) -> str | None:
        """An answer has to be taken with the least rate, looked at over each `write_s`."""
        if is_long_lived(connection) or self._is_taken(connection, now_s):
            self.unread_since_s = None
            return None
        flow = flow_of(connection.transport)
        # Where the kernel does not tell, what left our own buffer has to do.
        unsent = connection.transport.get_write_buffer_size()
        taken = -unsent if flow is None else flow.acknowledged_bytes
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

    def _is_taken(self, connection: Any, now_s: float) -> bool:
        """Whether no answer waits for the client, in our buffer or in the kernel's.

        The kernel is asked of connections that rest: of those with other requests there is no need.
        """
        if connection.transport.get_write_buffer_size():
            return False
        if self.stage != "idle" or self.is_taken:
            return True
        if now_s - self.since_s < REST_S:
            return self.unread_since_s is None
        flow = flow_of(connection.transport)
        self.is_taken = flow is None or not flow.is_waiting
        return self.is_taken


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


class Flow(NamedTuple):
    """What the kernel knows of a connection: the client's bytes that came, and ours that it has."""

    acknowledged_bytes: int
    received_bytes: int
    is_waiting: bool


def flow_of(transport: Any) -> Flow | None:
    """None where the kernel does not tell (man 7 tcp, TCP_INFO)."""
    plain = transport.get_extra_info("socket")
    if plain is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None
    if len(info) < _INFO_BYTES:
        return None
    (unacknowledged,) = struct.unpack_from("I", info, _UNACKED_AT)
    acknowledged, received, _, _, unsent = struct.unpack_from("QQIII", info, _ACKED_AT)
    return Flow(acknowledged, received, unacknowledged + unsent > 0)
