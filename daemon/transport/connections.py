"""The connections of a server: how many there may be, and which of them keep it waiting too long.

Nothing is noted when a request comes or goes: once a second a walk looks at each connection and
remembers what it found. So a deadline costs a hot route nothing, and is up to two seconds late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from daemon.domain.clients import network_of
from daemon.log import get_logger
from daemon.transport.problems import PROBLEM_CONTENT_TYPE, problem
from daemon.transport.request_id import new_request_id

WALK_EVERY_S = 1.0
WALK_STEP_S_MAX = 2.0
"""What a walk adds to each wait at most: what we did not read in time is not the client's doing."""
WALKED_AT_ONCE = 100
"""Connections after which other work has its turn."""
TURNED_AWAY_MAX = 512
"""Connections that wait for being told that there is no room; further ones are cut at once."""
TURNED_AWAY_S = 5.0
LOG_EVERY_S = 60.0

log = get_logger()

RawHeaders = Collection[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """How long a client may take, and how many connections there may be; 0 is no bound of those.

    `bytes_per_s_min` is asked of bodies after `RATE_GRACE_S`, and of answers over `write_s`.
    """

    header_s: float = 10.0
    body_s: float = 30.0
    write_s: float = 30.0
    idle_s: float = 80.0
    bytes_per_s_min: int = 1024
    connections_max: int = 40_000
    connections_per_address: int = 25_000


class Walked(Protocol):
    """A connection that the walk looks at."""

    def overdue(self, now_s: float, bounds: ConnectionBounds) -> str | None:
        """Why it is to end, in one word; None when it may go on."""

    def end(self, reason: str) -> None:
        """Say so where that is possible, and close it."""


class Connections:
    """`all_open` are those of the server, of any kind; the walk looks at those that can be late."""

    def __init__(
        self,
        all_open: Collection[object],
        bounds: ConnectionBounds,
        *,
        is_exempt: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.bounds = bounds
        self.ended: Counter[str] = Counter()
        """How many were ended, by reason."""
        self._all_open = all_open
        self._is_exempt = is_exempt
        self._of_address: Counter[str] = Counter()
        self._walked_s = 0.0
        self._loop_s: float | None = None
        self._logged: Counter[str] = Counter()
        self._logged_s = -LOG_EVERY_S
        self.turned_away = 0

    @property
    def open(self) -> int:
        return len(self._all_open)

    def numbers(self) -> dict[str, int]:
        """How many are open, and how many were ended by reason."""
        return {"open": self.open, **self.ended}

    # -- how many ----------------------------------------------------------------------------

    def enter(self, address: str) -> str | None:
        """Count one more; the reason why there is no room, None when there is."""
        bounds, network = self.bounds, network_of(address)
        if bounds.connections_max and len(self._all_open) > bounds.connections_max:
            return "full"
        if (
            bounds.connections_per_address
            and self._of_address[network] >= bounds.connections_per_address
            and not self._is_exempt(address)
        ):
            return "address"
        self._of_address[network] += 1
        return None

    def leave(self, address: str) -> None:
        network = network_of(address)
        self._of_address[network] -= 1
        if self._of_address[network] <= 0:
            del self._of_address[network]

    # -- how long ----------------------------------------------------------------------------

    async def walk(self) -> None:
        """Look at every connection, and end those that are overdue."""
        now_s = self._advance(asyncio.get_running_loop().time())
        for at, one in enumerate(list(self._all_open), 1):
            overdue = getattr(one, "overdue", None)
            reason = None if overdue is None else overdue(now_s, self.bounds)
            if reason is not None:
                self.ended[reason] += 1
                one.end(reason)  # type: ignore[attr-defined]  # it is Walked
            if at % WALKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._tell(now_s)

    def _advance(self, loop_s: float) -> float:
        """The clock of the walks: it stands still while this process does."""
        if self._loop_s is not None:
            self._walked_s += min(loop_s - self._loop_s, WALK_STEP_S_MAX)
        self._loop_s = loop_s
        return self._walked_s

    def _tell(self, now_s: float) -> None:
        """One line a minute, however many there were."""
        if self.ended == self._logged or now_s - self._logged_s < LOG_EVERY_S:
            return
        log.warning("connections_ended", **dict(self.ended - self._logged), open=self.open)
        self._logged, self._logged_s = self.ended.copy(), now_s


class TurnedAway(asyncio.Protocol):
    """A connection for which there is no room: it hears so when it asks for something.

    Told before that, it might never read it: what it sends then resets the connection.
    """

    def __init__(
        self, connections: Connections, transport: asyncio.Transport, *, headers: RawHeaders
    ) -> None:
        self._connections = connections
        self._transport = transport
        self._headers = headers
        connections.turned_away += 1
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TURNED_AWAY_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(refusal(503, retry_after=5, headers=self._headers))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.turned_away -= 1
        self._timer.cancel()


_SAID = {
    400: (b"Bad Request", "malformed", "The request is not valid HTTP."),
    408: (b"Request Timeout", "request_timeout", "The request did not come in time."),
    431: (b"Request Header Fields Too Large", "head_too_large", "The headers are too large."),
    503: (b"Service Unavailable", "busy", "There are too many connections."),
}


def refusal(
    status: int, *, headers: RawHeaders, retry_after: int | None = None, own_id: str | None = None
) -> bytes:
    """The bytes of an answer that no application gives; the connection ends with it. `headers` are
    those of every answer, `own_id` is the request's if it has one."""
    phrase, code, detail = _SAID[status]
    own_id = own_id or new_request_id()
    body = problem(status, code=code, detail=detail, request_id=own_id, retry_after=retry_after)
    lines = [
        b"HTTP/1.1 %d %b" % (status, phrase),
        *(b"%b: %b" % header for header in headers if header[0].lower() != b"connection"),
        b"content-type: " + PROBLEM_CONTENT_TYPE,
        b"content-length: %d" % len(body),
        b"x-request-id: " + own_id.encode(),
        b"cache-control: no-store",
        b"connection: close",
    ]
    if retry_after is not None:
        lines.append(b"retry-after: %d" % retry_after)
    return b"\r\n".join([*lines, b"", body])
