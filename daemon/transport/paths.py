"""Slashes inside ids.

`%2F` in a path stays one segment, although servers decode it before routing.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import BeforeValidator
from starlette.types import ASGIApp, Receive, Scope, Send


def routable_path(raw_path: bytes) -> str:
    """The decoded path in which an encoded slash is still `%2F`."""
    segments = raw_path.partition(b"?")[0].split(b"/")
    return "/".join(
        unquote_to_bytes(segment).decode("utf-8", "replace").replace("/", "%2F")
        for segment in segments
    )


class EncodedSlashMiddleware:
    """Routes by `routable_path` where a path has an encoded slash; other paths pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope.get("raw_path") or b""
        if b"%2f" in raw_path or b"%2F" in raw_path:
            scope = {**scope, "path": routable_path(raw_path)}
        await self._app(scope, receive, send)


def _with_slashes(value: object) -> object:
    return value.replace("%2F", "/") if isinstance(value, str) else value


PathId = Annotated[
    str,
    # Before the validator, or the document would not show it.
    Path(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$"),
    BeforeValidator(_with_slashes),
]
"""A device id or metric name in a path."""
