"""The bytes of an error answer (RFC 9457).

Which status an error has is decided in transport/errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_CONTENT_TYPE = PROBLEM_MEDIA_TYPE.encode()


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    request_id: str | None,
    errors: Sequence[Mapping[str, Any]] | None = None,
    retry_after: int | None = None,
    members: Mapping[str, Any] | None = None,
) -> bytes:
    """The JSON of one problem; `members` stand beside the standard ones and never replace them.

    `errors` are `{"pointer", "code", "detail"}` each; `retry_after` is seconds.
    """
    body: dict[str, Any] = dict(members or {})
    body |= {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    # A batch that failed as a whole carries its own list of errors as a member (contract 3).
    if errors:
        body["errors"] = list(errors)
    if retry_after is not None:
        body["retry_after"] = retry_after
    try:
        return orjson.dumps(body)
    except TypeError:
        # Text of the client with a lone surrogate, which UTF-8 can't hold but a JSON escape can.
        return json.dumps(body).encode("ascii")


def title_of(status: int) -> str:
    """The name of the status in RFC 9110 words, which is what `about:blank` asks for."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
