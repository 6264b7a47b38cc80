"""One line and one count for each request that was answered, whichever way it went.

Nothing of its query, headers or body is told. The lines are put together from bytes and written
many at a time (daemon/lines), since single points come by the ten thousand a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.lines import STDERR, Lines
from daemon.live.traffic import Sender, Traffic
from daemon.log import FIELD_CHARACTERS_MAX, bounded, get_logger
from daemon.transport.auth import address_of
from daemon.transport.bodies import GONE_STATUS
from daemon.transport.openapi import PREFIX
from daemon.transport.request_id import cause_of, own_trace_id

# Probes come every few seconds and say nothing new.
_QUIET_PREFIXES = ("/health", "/livez", "/readyz", "/metrics")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ABOUTS_MAX = 8_192
_PLAIN_MAX = 64
_NEVER = 1_000
"""Above every status."""
_LEVELS = ("debug", "info", "warning")
REFUSED = "telemetry.refused"
"""Where the state of a request has what the server answered itself: status, bytes of the body."""
_BROKEN = ("other", "other")
"""Route and method of what is no whole request."""
# Bytes are put together in two thirds of the time that text takes.
_LINE = (
    b'{"ts":"%b%06dZ","level":"%b","event":"request","request_id":"%b","trace_id":"%b",%b,'
    b'"status":%d,"ms":%.2f,"bytes":%d%b%b'
)

log = get_logger()

Requests = Literal["all", "slow_and_errors", "none"]


class Answered(NamedTuple):
    """How a request ended. `size_bytes` is the body of the answer; `points` of `devices` were
    stored, where the route stores any."""

    status: int
    duration_s: float
    size_bytes: int
    now_s: float | None = None
    points: int = 0
    devices: int = 0


@dataclass(frozen=True, slots=True)
class About:
    """What is the same for many requests of one sender: the call, and its part of the line.

    With `sender`, the points of a request are counted for it.
    """

    call: tuple[str, str]
    members: bytes
    remote: str
    is_quiet: bool = False
    sender: Sender | None = None


@dataclass(frozen=True, slots=True)
class LogWish:
    """Which requests are to be logged: by `[log] level`, `requests` and `slow`."""

    level: str = "info"
    requests: Requests = "none"
    slow_s: float = 1.0
    is_text: bool = False
    process: int | None = None


_Noted = tuple[int, About, Answered, str, str]
"""When, in microseconds, and what `note` was told."""
_WAITING_MAX = 64


class AccessLog:
    """What every way a request can go calls when it has been answered."""

    def __init__(self, traffic: Traffic, clock: Clock, *, lines: Lines = STDERR) -> None:
        self.traffic = traffic
        self._clock = clock
        self.lines = lines
        self._second, self._second_text = -1, b""
        self._waiting: list[_Noted] = []
        self.configure(LogWish())

    def configure(self, wish: LogWish) -> None:
        """Take over settings; at once, also while requests come."""
        self.wish = wish
        is_said = wish.requests != "none" and wish.level in _LEVELS
        has_info = is_said and wish.level in ("debug", "info")
        self._all = has_info and wish.requests == "all"
        self._quiet = is_said and wish.level == "debug"
        self._slow_s = wish.slow_s if has_info else float("inf")
        self._status_min = (400 if has_info else 500) if is_said else _NEVER
        self._end = b"}\n" if wish.process is None else b',"process":%d}\n' % wish.process

    def note(self, about: About, answered: Answered, *, request_id: str, trace_id: str) -> None:
        """Count the request, and write its line if it is wanted."""
        if about.is_quiet:
            if self._quiet:
                self._write(about, answered, request_id, trace_id)
            return
        status, duration_s, _, now_s, points, _ = answered
        if now_s is None:
            now_s = self._clock.monotonic_s()
        kind = (about.call, status, int(now_s), about.sender, points)
        self.traffic.count_request(kind, duration_s)
        if self._all or status >= self._status_min or duration_s >= self._slow_s:
            self._write(about, answered, request_id, trace_id)

    def note_stream(
        self, about: About, answered: Answered, *, head_s: float, request_id: str, trace_id: str
    ) -> None:
        """Of an answer that went on: what counts is how long its head took, `head_s`; the line says
        how long it lasted, which makes no request slow."""
        second = int(self._clock.monotonic_s())
        self.traffic.count_request((about.call, answered.status, second, about.sender, 0), head_s)
        if self._all or answered.status >= self._status_min:
            self._write(about, answered, request_id, trace_id)

    def note_broken(self, status: int, size_bytes: int, *, remote: str, request_id: str) -> None:
        """What was answered to something that is no whole request."""
        said = about(_BROKEN, "", None, remote)
        answered = Answered(status, 0.0, size_bytes)
        self.note(said, answered, request_id=request_id, trace_id=own_trace_id(request_id))

    @staticmethod
    def as_ended(scope: Scope, answered: Answered) -> Answered:
        """Of a body that broke off the client was told so, whatever the application says then."""
        refused = scope.get("state", {}).get(REFUSED)
        if refused is None:
            return answered
        return answered._replace(status=refused[0], size_bytes=refused[1])

    def _write(self, about: About, answered: Answered, request_id: str, trace_id: str) -> None:
        noted = (self._clock.now_us(), about, answered, request_id, trace_id)
        if self.wish.is_text:
            self._say(self._line(noted))
            return
        waiting = self._waiting
        waiting.append(noted)
        if len(waiting) == 1:
            self.lines.expect(self._hand_over)
        elif len(waiting) >= _WAITING_MAX:
            self._hand_over()

    def _hand_over(self) -> None:
        """Make the lines that wait."""
        waiting, self._waiting = self._waiting, []
        self.lines.add(*map(self._line, waiting))

    def _line(self, noted: _Noted) -> bytes:
        now_us, about, answered, request_id, trace_id = noted
        status, duration_s, size_bytes, _, points, devices = answered
        second, micros = divmod(now_us, 1_000_000)
        if second != self._second:
            self._begin_second(second)
        level = b"debug" if about.is_quiet else b"info" if status < 500 else b"warning"
        said_id = request_id if _is_plain(request_id) else _json(request_id)
        stored = b',"device_count":%d,"point_count":%d' % (devices, points) if points else b""
        return _LINE % (
            self._second_text, micros, level, said_id.encode(), trace_id.encode(), about.members,
            status, duration_s * 1000, size_bytes, stored, self._end,
        )  # fmt: skip

    def _begin_second(self, second: int) -> None:
        """Its text as ISO 8601, which is made once."""
        self._second = second
        at = as_datetime(second * 1_000_000)
        self._second_text = at.strftime("%Y-%m-%dT%H:%M:%S.").encode()

    @staticmethod
    def _say(line: bytes) -> None:
        """For a person, through the logger: it knows how lines look on a terminal."""
        said: dict[str, Any] = json.loads(line)
        del said["ts"]
        getattr(log, said.pop("level"))(said.pop("event"), **said)


def about(call: tuple[str, str], path: str, principal: Principal | None, remote: str) -> About:
    """The part of a line that says who asks for what; `call` is the template and the method."""
    sender = None if principal is None else (principal.key_id, principal.name)
    # No more of a path is told, so no more of it is remembered.
    return _about(call, path[: 4 * FIELD_CHARACTERS_MAX], sender, remote)


@lru_cache(maxsize=_ABOUTS_MAX)
def _about(call: tuple[str, str], path: str, sender: Sender | None, remote: str) -> About:
    route, method = call
    members = {
        "logger": "access",
        "principal": bounded(None if sender is None else sender[0]),
        "method": method if method in _METHODS else "other",
        "route": route,
        "path": bounded(path),
        "remote": bounded(remote),
    }
    text = json.dumps(members, separators=(",", ":"))[1:-1]
    is_quiet = path.startswith(_QUIET_PREFIXES)
    return About((route, members["method"]), text.encode(), remote, is_quiet, sender)


def _is_plain(text: str) -> bool:
    """Whether nothing in it needs escaping, and it is short."""
    return len(text) <= _PLAIN_MAX and text.isascii() and text.isidentifier()


def _json(text: str) -> str:
    return json.dumps(bounded(text))[1:-1]


class StreamLogMiddleware:
    """The same for answers that go on: noted when they end."""

    def __init__(self, app: ASGIApp, *, access: AccessLog, clock: Clock, route: str) -> None:
        self._app = app
        self._access = access
        self._clock = clock
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = head_s = self._clock.monotonic_s()
        status = GONE_STATUS
        size_bytes = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, size_bytes, head_s
            if message["type"] == "http.response.start":
                status, head_s = message["status"], self._clock.monotonic_s()
            else:
                size_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            now_s, cause = self._clock.monotonic_s(), cause_of(scope)
            principal = scope.get("state", {}).get("principal")
            call = (self._route, scope["method"])
            self._access.note_stream(
                about(call, scope["path"], principal, address_of(scope)),
                Answered(status, now_s - began_s, size_bytes, now_s),
                head_s=max(0.0, head_s - began_s),
                request_id=cause.request_id,
                trace_id=cause.trace.trace_id,
            )


class AccessLogMiddleware:
    """Notes what goes through the framework, also when it fails or nobody waits for it."""

    def __init__(self, app: ASGIApp, *, access: AccessLog, clock: Clock) -> None:
        self._app = app
        self._access = access
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._clock.monotonic_s()
        traffic = self._access.traffic
        traffic.in_flight += 1
        status = GONE_STATUS
        size_bytes = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, size_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            traffic.in_flight -= 1
            now_s = self._clock.monotonic_s()
            self._note(scope, Answered(status, now_s - began_s, size_bytes, now_s))

    def _note(self, scope: Scope, answered: Answered) -> None:
        principal = scope.get("state", {}).get("principal")
        call, cause = (_template(scope), scope["method"]), cause_of(scope)
        self._access.note(
            about(call, scope["path"], principal, address_of(scope)),
            self._access.as_ended(scope, answered),
            request_id=cause.request_id,
            trace_id=cause.trace.trace_id,
        )


def _template(scope: Scope) -> str:
    """The path of the route, whole: a router that was included knows its own part only."""
    route: str = getattr(scope.get("route"), "path", "other")
    if route != "other" and scope["path"].startswith(PREFIX) and not route.startswith(PREFIX):
        return PREFIX + route
    return route
