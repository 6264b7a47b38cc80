"""`GET /health` without a task, and HEAD: it is answered as soon as it is read, however much waits
for its turn. Only plain probes are; transport/routes/health documents the route and answers the
same."""

from __future__ import annotations

from starlette.types import Scope

from daemon.service.health import Health
from daemon.transport.access_log import AccessLog, Answered, about
from daemon.transport.answers import to_json
from daemon.transport.auth import address_of
from daemon.transport.request_id import new_request_id, own_trace_id
from daemon.transport.routes.health import RETRY_AFTER_S, health_body

_PATH = b"/health"
_METHODS = frozenset({"GET", "HEAD"})
# Whatever else is sent may ask for something.
_PLAIN = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"connection"})
JSON_LINES = (
    b"content-type: application/json\r\ncontent-length: %d\r\n"
    b"x-request-id: %b\r\ncache-control: no-store\r\n"
)
_RETRY_AFTER = b"retry-after: " + RETRY_AFTER_S.encode() + b"\r\n"

Answer = tuple[bytes, bytes, bytes]
"""Status, lines of headers, and body."""


class QuickHealth:
    """Answers from what the last probe of the database found."""

    def __init__(self, health: Health, access: AccessLog, *, port: int) -> None:
        self._health = health
        self._access = access
        self._port = port

    def answer(self, scope: Scope) -> Answer | None:
        """None when it is another request, or one that asks for more."""
        method = scope["method"]
        if scope["raw_path"] != _PATH or method not in _METHODS or scope["query_string"]:
            return None
        if not all(name in _PLAIN for name, _ in scope["headers"]):
            return None
        view, own_id = self._health.view(), new_request_id()
        body = to_json(health_body(view, port=self._port))
        lines = JSON_LINES % (len(body), own_id.encode())
        status = 200 if view.is_healthy else 503
        if method == "HEAD":
            body = b""
        self._access.note(
            about(("/health", method), "/health", None, address_of(scope)),
            Answered(status, 0.0, len(body)),
            request_id=own_id,
            trace_id=own_trace_id(own_id),
        )
        if view.is_healthy:
            return b"200 OK", lines, body
        return b"503 Service Unavailable", lines + _RETRY_AFTER, body
