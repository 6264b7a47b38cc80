"""`X-Internal-Call` opens nothing on the public port: a header is no credential (requirement C-07).

It is taken out before anything else sees the request, so that no part of the daemon, nor anything
mounted in it, can come to trust it. Where it does mean something is transport/internal_door.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.clock import Clock
from daemon.domain.occasions import Seldom
from daemon.log import get_logger
from daemon.transport.auth import address_of

LOGGED_EVERY_S = 60.0
ADDRESSES_MAX = 1_000
_PREFIX = b"x-internal-"

log = get_logger()


class Ignored:
    """How often it was sent; one line a minute for an address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seldom = Seldom(every_s=LOGGED_EVERY_S, entries_max=ADDRESSES_MAX)
        self.count = 0

    def note(self, address: str) -> None:
        self.count += 1
        if self._seldom.is_due(address, self._clock.monotonic_s()):
            log.warning("internal_call_ignored", address=address, ignored=self.count)


class InternalCalls:
    """Removes every header that begins with X-Internal-, with underscores or without."""

    def __init__(self, app: ASGIApp, *, ignored: Ignored) -> None:
        self._app = app
        self._ignored = ignored

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket") and remove_internal(scope):
            self._ignored.note(address_of(scope))
        return self._app(scope, receive, send)


def remove_internal(scope: Scope) -> bool:
    """Take the headers out; whether there were any."""
    headers = scope["headers"]
    if not any(is_internal(name) for name, _ in headers):
        return False
    scope["headers"] = [pair for pair in headers if not is_internal(pair[0])]
    return True


def is_internal(name: bytes) -> bool:
    return name[:2] in (b"x-", b"x_") and name.replace(b"_", b"-").startswith(_PREFIX)
