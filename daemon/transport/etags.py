"""ETags: whether the client has this version already, and whether it changes the one it knows."""

from __future__ import annotations

from starlette.requests import Request


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this tag, so that 304 is enough."""
    wanted = request.headers.get("if-none-match")
    return wanted is not None and matches(wanted, etag)


def matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison with each of the header's tags (RFC 9110, 13.1.2)."""
    opaque = etag.removeprefix("W/")
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or opaque in tags
