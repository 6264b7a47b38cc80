"""What an error of the daemon becomes over HTTP, in one place.

Its bytes are made in transport/problems.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from daemon.domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    RateLimited,
    Stale,
    TooLarge,
    TryLater,
    Unauthenticated,
    Unstorable,
    UnsupportedEncoding,
)
from daemon.log import get_logger
from daemon.transport.origin import RawHeaders
from daemon.transport.problems import PROBLEM_CONTENT_TYPE, problem

# The first class that fits wins; what fits none is our own fault, hence 500 without detail.
_STATUSES: tuple[tuple[type[DomainError], int], ...] = (
    (Malformed, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Stale, 412),
    (TooLarge, 413),
    (UnsupportedEncoding, 415),
    (Invalid, 422),
    (RateLimited, 429),
    (TryLater, 503),
)
INTERNAL_ERROR_DETAIL = "The daemon failed to do this; its log says why, under the request id."


log = get_logger()


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """Status, headers beside the content type and length, and body of an error answer."""

    status: int
    body: bytes
    headers: RawHeaders = field(default_factory=list)

    def raw_headers(self) -> RawHeaders:
        """All headers of the answer, for ASGI."""
        return [
            (b"content-type", PROBLEM_CONTENT_TYPE),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]


def status_of(error: DomainError) -> int:
    """The HTTP status of an error (contract 1)."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return 500


def answer_of(error: BaseException, *, request_id: str) -> ErrorAnswer:
    """The answer to any error; an unexpected one is logged here with its stack and tells nothing.

    Call it inside the `except` block that caught the error.
    """
    if not isinstance(error, DomainError) or status_of(error) == 500:
        log.error("request_failed", request_id=request_id, exc_info=error)
        body = problem(
            500,
            code="internal_error",
            detail=INTERNAL_ERROR_DETAIL,
            request_id=request_id,
        )
        return ErrorAnswer(500, body)
    if isinstance(error, Unstorable):
        # It should have been refused before it came so far.
        log.error("value_refused_by_database", request_id=request_id, exc_info=error)
    retry_after = error.retry_after_s if isinstance(error, TryLater) else None
    extra: dict[str, Any] = {}
    if isinstance(error, Invalid):
        extra = {"errors": error.errors, "members": error.members}
    status = status_of(error)
    body = problem(
        status,
        code=error.error_code,
        detail=error.detail,
        request_id=request_id,
        retry_after=retry_after,
        **extra,
    )
    return ErrorAnswer(status, body, _headers_of(error))


def _headers_of(error: DomainError) -> RawHeaders:
    if isinstance(error, TryLater):
        return [(b"retry-after", str(error.retry_after_s).encode())]
    if isinstance(error, Unauthenticated):
        # RFC 9110, section 11.6.1: a 401 names a way to authenticate.
        return [(b"www-authenticate", b'Bearer realm="telemetry"')]
    if isinstance(error, UnsupportedEncoding):
        # RFC 9110, section 12.5.3: what a body may be encoded with instead.
        return [(b"accept-encoding", error.taken.encode())]
    return []
