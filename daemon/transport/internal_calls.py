"""`X-Internal-Call` opens nothing here: a header is no credential (requirement C-07).

It is taken out before anything else sees the request, so that no part of the daemon, nor anything
mounted in it, can come to trust it.
"""

from __future__ import annotations

from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.clock import Clock
from daemon.log import get_logger
from daemon.transport.auth import address_of

LOGGED_EVERY_S = 60.0
ADDRESSES_MAX = 1_000
_PREFIX = b"x-internal-"

log = get_logger()


class InternalCalls:
    """Removes every header that begins with X-Internal-, with underscores or without; says so once
    a minute for an address."""

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._said_s: OrderedDict[str, float] = OrderedDict()
        self.ignored = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = scope["headers"]
            kept = [pair for pair in headers if not _is_internal(pair[0])]
            if len(kept) < len(headers):
                scope["headers"] = kept
                self._note(address_of(scope))
        await self._app(scope, receive, send)

    def _note(self, address: str) -> None:
        self.ignored += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s.get(address, -LOGGED_EVERY_S) < LOGGED_EVERY_S:
            return
        self._said_s[address] = now_s
        self._said_s.move_to_end(address)
        if len(self._said_s) > ADDRESSES_MAX:
            self._said_s.popitem(last=False)
        log.warning("internal_call_ignored", address=address, ignored=self.ignored)


def _is_internal(name: bytes) -> bool:
    return name[:1] in b"xX" and name.lower().replace(b"_", b"-").startswith(_PREFIX)
