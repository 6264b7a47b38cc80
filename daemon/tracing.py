"""Which request something comes from: its id and its trace, for logs, events and outgoing calls.

`traceparent` is that of https://www.w3.org/TR/trace-context/, section 3.2. `tracestate` is not
passed on: nothing here belongs to a tracing system, and a participant may leave it out.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NO_TRACE, _NO_PARENT = b"0" * 32, b"0" * 16
_NOT_SAMPLED = "00"


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a request belongs to: 32 hexadecimal digits, and flags of two."""

    trace_id: str
    flags: str = _NOT_SAMPLED

    def traceparent(self) -> str:
        """What to send with a call that this leads to; each gets a span id of its own."""
        return f"00-{self.trace_id}-{secrets.token_hex(8)}-{self.flags}"


@dataclass(frozen=True, slots=True)
class Cause:
    """The request that is being answered; `is_followed` if the client named the trace."""

    request_id: str
    trace: Trace
    is_followed: bool = False


CAUSE: ContextVar[Cause | None] = ContextVar("cause", default=None)
"""Set while a request is answered; None in the loops of the daemon."""


def links_now() -> dict[str, str]:
    """What an event or a message keeps of the request that led to it; nothing outside of one."""
    cause = CAUSE.get()
    if cause is None:
        return {}
    return {"request_id": cause.request_id, "traceparent": cause.trace.traceparent()}


def link_headers(data: object) -> dict[str, str]:
    """Headers for a call that goes back to a request, from what `links_now` gave then.

    They are looked at again: what was stored is no reason to trust a header.
    """
    found: dict[str, str] = {}
    if not isinstance(data, Mapping):
        return found
    own_id, parent = data.get("request_id"), data.get("traceparent")
    if isinstance(own_id, str) and _REQUEST_ID.fullmatch(own_id):
        found["X-Request-ID"] = own_id
    if isinstance(parent, str) and parent.isascii() and trace_of([parent.encode()]) is not None:
        found["traceparent"] = parent
    return found


def trace_of(values: list[bytes]) -> Trace | None:
    """The trace that the headers `traceparent` of a request name; None when they name none.

    Several are invalid, as is all that the standard says to ignore: version ff, zeros only,
    capitals, and anything after a version 00.
    """
    if len(values) != 1:
        return None
    found = _TRACEPARENT.fullmatch(values[0].strip())
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    is_bad = version == b"ff" or trace_id == _NO_TRACE or parent_id == _NO_PARENT
    if is_bad or (version == b"00" and more):
        return None
    return Trace(trace_id.decode(), f"{int(flags, 16) & 1:02x}")
