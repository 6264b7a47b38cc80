"""Answers to handshakes that open no WebSocket: problems, as everywhere."""

from __future__ import annotations

from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader, InvalidHeaderValue
from websockets.http11 import Request, Response

from daemon.transport.origin import RawHeaders
from daemon.transport.problems import PROBLEM_MEDIA_TYPE, problem
from daemon.transport.request_id import request_id

VERSION = "13"
_VERSION_HEADER = "Sec-WebSocket-Version"


def rejection(
    status: HTTPStatus, error: Exception | None, request: Request, *, headers: RawHeaders
) -> Response:
    """The answer to what `error` found in the handshake; `headers` are those of every answer.

    Another version than ours is answered with ours (RFC 6455, section 4.2.2).
    """
    own_id = request_id(_raw(request))
    detail = "The handshake opens no WebSocket."
    if isinstance(error, InvalidHeader):
        detail = f"The header {error.name} of the handshake is missing or not valid."
    is_other_version = isinstance(error, InvalidHeaderValue) and error.name == _VERSION_HEADER
    if is_other_version:
        status, detail = HTTPStatus.UPGRADE_REQUIRED, f"WebSockets are of version {VERSION} here."
    body = problem(status, code="bad_handshake", detail=detail, request_id=own_id)
    said = Headers([(name.decode(), value.decode("latin-1")) for name, value in headers])
    said["Content-Type"] = PROBLEM_MEDIA_TYPE
    said["Content-Length"] = str(len(body))
    said["X-Request-ID"] = own_id
    said["Cache-Control"] = "no-store"
    if is_other_version:
        said["Upgrade"], said[_VERSION_HEADER] = "websocket", VERSION
    if "Connection" not in said:
        said["Connection"] = "Upgrade, close" if is_other_version else "close"
    return Response(status.value, status.phrase, said, body)


def _raw(request: Request) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in request.headers.raw_items()
    ]
