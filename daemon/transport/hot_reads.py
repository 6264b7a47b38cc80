"""The newest point of one series as bare ASGI: the read that dashboards repeat.

Only the plain case is answered here: no parameters, a key known by now, ids without escapes. All
else goes on to transport/routes/latest, which documents the route and answers the same.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.budgets import RateClass
from daemon.domain.errors import Forbidden, NotFound
from daemon.service.latest import LatestReads, Newest
from daemon.transport.access_log import AccessLog, Answered, about
from daemon.transport.answers import to_json
from daemon.transport.auth import address_of, note_former, token_of
from daemon.transport.etags import matches
from daemon.transport.json_pages import newest_dict
from daemon.transport.limits import Gate
from daemon.transport.request_id import cause_of, id_headers
from daemon.transport.routes.latest import CACHE_CONTROL, VARY, etag_of

_PREFIX = b"/api/v1/telemetry/devices/"
_SUFFIX = b"/latest"
_MIDDLE = b"/metrics/"
_CALL = ("/api/v1/telemetry/devices/{device_id}/metrics/{metric_name}/latest", "GET")
_JSON = (b"content-type", b"application/json")
_CACHE_CONTROL = (b"cache-control", CACHE_CONTROL.encode())
_VARY = (b"vary", VARY.encode())


class HotReads:
    """Answers what it can from memory and passes every other request on."""

    def __init__(
        self, app: ASGIApp, *, latest: LatestReads, gate: Gate, access: AccessLog, clock: Clock
    ) -> None:
        self._app = app
        self._latest = latest
        self._gate = gate
        self._access = access
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = _names_of(scope) if scope["type"] == "http" else None
        found = None if names is None else self._find(scope, names)
        if found is None:
            await self._app(scope, receive, send)
            return
        principal, newest = found
        began_s = self._clock.monotonic_s()
        etag = etag_of(newest)
        wanted = _header(scope, b"if-none-match")
        is_known = wanted is not None and matches(wanted.decode("latin-1"), etag)
        body = b"" if is_known else to_json(newest_dict(newest))
        status = 304 if is_known else 200
        headers = [
            (b"etag", etag.encode()),
            _CACHE_CONTROL,
            *id_headers(scope),
            _VARY,
            *self._gate.headers(scope),
        ]
        if not is_known:
            headers += [_JSON, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        now_s, cause = self._clock.monotonic_s(), cause_of(scope)
        self._access.note(
            about(_CALL, scope["path"], principal, address_of(scope)),
            Answered(status, now_s - began_s, len(body), now_s),
            request_id=cause.request_id,
            trace_id=cause.trace.trace_id,
        )

    def _find(self, scope: Scope, names: tuple[str, str]) -> tuple[Principal, Newest] | None:
        """The point, or None where the route has to say why there is none."""
        token = token_of(scope["headers"])
        if token is None:
            return None
        principal = self._gate.keys.cached(token, address=address_of(scope))
        if principal is None or principal.signing_key is not None:
            return None
        note_former(principal, scope, keys=self._gate.keys)
        try:
            principal.require("read")
            newest = self._latest.one(principal, device_id=names[0], metric_name=names[1])
            # Where the database has to be asked, or nothing is left, the long way says so.
            is_in = self._gate.enter_now(scope, principal, RateClass.QUERY)
        except (Forbidden, NotFound):
            return None
        return (principal, newest) if is_in else None


def _names_of(scope: Scope) -> tuple[str, str] | None:
    """Device and metric of a plain request for a newest point, else None."""
    path: bytes = scope["raw_path"]
    is_plain = (
        path.endswith(_SUFFIX)
        and path.startswith(_PREFIX)
        and scope["method"] == "GET"
        and not scope["query_string"]
        and b"%" not in path
        and _header(scope, b"signature-input") is None
    )
    if not is_plain:
        return None
    device, middle, metric = path[len(_PREFIX) : -len(_SUFFIX)].partition(_MIDDLE)
    if not middle or b"/" in device or b"/" in metric:
        return None
    return device.decode("latin-1"), metric.decode("latin-1")


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
