"""The header Idempotency-Key: a POST that is sent again is answered as the first time.

(draft-ietf-httpapi-idempotency-key-header-07.) The ingest routes take it as the `batch_id` of
their body, which is the same thing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import cast

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from daemon.domain.access import Principal
from daemon.domain.errors import DomainError, Malformed
from daemon.service.idempotency import Idempotency, Kept
from daemon.transport.errors import status_of

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
_KEY = re.compile(rb"[\x21-\x7e]{1,128}")
# They change nothing, so they may be sent as often as one likes.
_READS = ("/query", "/lint", "/preview")
# Members that hold a secret which is shown once: an answer with one is kept nowhere.
_SECRETS = frozenset({"key", "secret", "ticket", "token", "access_token", "refresh_token"})
# What else in such an answer names the thing that was made.
_NAMES = ("key_id", "name")

Respond = Callable[[Request], Awaitable[Response]]


def is_once(method: str, template: str) -> bool:
    """Whether a route does something that the header keeps from being done twice."""
    return method == "POST" and not template.endswith(_READS)


def key_in(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The key of a request. Raises Malformed for several, and for what is none."""
    found = [value for name, value in headers if name == HEADER]
    if not found:
        return None
    if len(found) > 1 or not _KEY.fullmatch(found[0]):
        raise Malformed(
            "Idempotency-Key is one of 1 to 128 visible characters", code="bad_idempotency_key"
        )
    return found[0].decode("ascii")


async def respond_once(request: Request, key: str, respond: Respond) -> Response:
    """The answer to the first such request, or what that was answered.

    Raises what `respond` does, and what service/idempotency says.
    """
    principal = cast(Principal, request.state.principal)
    idempotency = cast(Idempotency, request.app.state.services.idempotency)
    said = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    # Only routes that take a body have read one, with its bound; of others it means nothing.
    body = getattr(request, "_body", b"")
    found = await idempotency.begin(principal.key_id, key, said + body)
    if isinstance(found, Kept):
        name, value = REPLAYED
        return Response(
            found.body, found.status, {name.decode(): value.decode()}, "application/json"
        )
    try:
        with found.marking():
            response = await respond(request)
    except BaseException as error:
        await found.failed(is_refused=_is_refusal(error))
        raise
    shown = bytes(response.body)
    await found.answered(response.status_code, shown, secret_of=_secret_of(shown))
    return response


def _is_refusal(error: BaseException) -> bool:
    """Whether the request came to nothing for a reason of its own, so that it changed nothing."""
    if isinstance(error, DomainError):
        return status_of(error) < 500
    return isinstance(error, RequestValidationError | HTTPException)


def _secret_of(body: bytes) -> str | None:
    """The name of what an answer with a secret made; None for an answer without."""
    shown = orjson.loads(body)
    if not isinstance(shown, dict) or _SECRETS.isdisjoint(shown):
        return None
    return next((str(shown[name]) for name in _NAMES if shown.get(name)), "")
