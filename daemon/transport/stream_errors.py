"""What an error is on a stream: the frame that says it, and the code it closes with (contract 8).

Over HTTP, before a stream begins, errors are problems as everywhere.
"""

from __future__ import annotations

from typing import Any

from daemon.clock import Clock
from daemon.domain.errors import (
    DomainError,
    Forbidden,
    NotFound,
    RateLimited,
    TryLater,
    Unauthenticated,
)
from daemon.domain.interest import UnknownChannel
from daemon.domain.json_points import instant
from daemon.domain.signatures import SignatureInvalid, SignatureRequired
from daemon.live.message import Message, told

AUTH, FORBIDDEN, UNKNOWN, TOO_FAST, TRY_LATER, BAD_REQUEST, DEFECT = (
    4001,
    4003,
    4004,
    4029,
    1013,
    1008,
    1011,
)
REFUSED_MESSAGE = "the request can't be done; the log of the daemon says why"


class NoSuchStream(NotFound):
    """There is no stream at this path."""

    code = "INVALID_ENDPOINT"


class WrongOrigin(Forbidden):
    """Pages of this origin may not read streams."""

    code = "wrong_origin"


_CODES: tuple[tuple[type[DomainError], str, int], ...] = (
    (SignatureRequired, "SIGNATURE_REQUIRED", AUTH),
    (SignatureInvalid, "SIGNATURE_INVALID", AUTH),
    (Unauthenticated, "AUTH_REQUIRED", AUTH),
    (RateLimited, "RATE_LIMIT_EXCEEDED", TOO_FAST),
    (TryLater, "STREAM_UNAVAILABLE", TRY_LATER),
    (NoSuchStream, "INVALID_ENDPOINT", UNKNOWN),
    (UnknownChannel, "INVALID_ENDPOINT", UNKNOWN),
)


def error_of(error: Exception) -> dict[str, Any]:
    """`{"code", "message", "retryAfter"?}`; an unexpected error tells nothing of itself."""
    if not isinstance(error, DomainError):
        return {"code": "internal_error", "message": REFUSED_MESSAGE}
    code = next((code for kind, code, _ in _CODES if isinstance(error, kind)), error.error_code)
    said: dict[str, Any] = {"code": code, "message": error.detail}
    if isinstance(error, TryLater):
        said["retryAfter"] = error.retry_after_s
    return said


def close_code_of(error: Exception) -> int:
    """What a stream that can't begin is closed with."""
    for kind, _, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, Forbidden):
        return FORBIDDEN
    if isinstance(error, NotFound):
        return UNKNOWN
    return BAD_REQUEST if isinstance(error, DomainError) else DEFECT


def error_message(error: Exception, clock: Clock) -> Message:
    """The frame for a socket that the hub does not know yet."""
    stamp = instant(clock.now_us())
    return told("error", timestamp=stamp, cursor=None, data=error_of(error))
