"""What a person reads about the API: its document, and two pages that show it.

Their scripts and styles come with the daemon (transport/assets, made by deploy/vendor_docs.py), so
that they work on a closed network and ask no other host for anything.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from daemon.transport.answers import to_json
from daemon.transport.compression import takes_gzip
from daemon.transport.etags import is_known

DOCS_PATH = "/api/docs"
REDOC_PATH = "/api/redoc"
OPENAPI_PATH = "/api/openapi.json"
ASSETS = Path(__file__).parent / "assets"
KEPT_S = 3_600
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)
SWAGGER_POLICY = _POLICY + "style-src 'self'"
# ReDoc writes its styles with its elements, and searches in a worker that it makes itself.
REDOC_POLICY = _POLICY + "style-src 'unsafe-inline'; worker-src blob:"

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>telemetryctl API</title>
<link rel="icon" href="data:,">
"""
# Addresses are relative, so that the pages work below any path of a proxy.
SWAGGER_PAGE = f"""{_HEAD}<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
REDOC_PAGE = f"""{_HEAD}</head>
<body style="margin: 0">
<div id="redoc"></div>
<script src="redoc/redoc.standalone.js"></script>
<script src="redoc/start.js"></script>
</body>
</html>
"""
# A key that is typed in is forgotten with the page.
SWAGGER_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null, deepLinking: true, filter: true,
  docExpansion: "none", defaultModelsExpandDepth: 0, persistAuthorization: false,
  displayRequestDuration: true, requestSnippetsEnabled: true,
});
"""
REDOC_START = """Redoc.init("openapi.json", {
  hideDownloadButton: false, expandResponses: "200,201", sortPropsAlphabetically: false,
}, document.getElementById("redoc"));
"""


class Asset(NamedTuple):
    """A file as it is stored: gzip, and the tag of what is in it."""

    packed: bytes
    tag: str
    media_type: str


@cache
def asset(name: str) -> Asset:
    """One of the vendored files, by its name without `.gz`; it stays in memory."""
    packed = (ASSETS / f"{name}.gz").read_bytes()
    kind = "text/css" if name.endswith(".css") else "application/javascript"
    return Asset(packed, _tag(packed), kind)


@lru_cache(maxsize=16)
def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def serve_docs(app: FastAPI, document: Callable[[], dict[str, Any]]) -> None:
    """Add the document and the pages; without this call there are none (`[http] docs = false`)."""
    body = lru_cache(maxsize=1)(lambda: to_json(document()))

    async def openapi(request: Request) -> Response:
        # The first time it is made, which takes longer than others should wait.
        return _text(request, await asyncio.to_thread(body), "application/json")

    pages = {
        DOCS_PATH: (SWAGGER_PAGE, "text/html; charset=utf-8", SWAGGER_POLICY),
        DOCS_PATH + "/start.js": (SWAGGER_START, "application/javascript", None),
        REDOC_PATH: (REDOC_PAGE, "text/html; charset=utf-8", REDOC_POLICY),
        REDOC_PATH + "/start.js": (REDOC_START, "application/javascript", None),
    }
    files = {
        DOCS_PATH + "/swagger-ui-bundle.js": "swagger-ui-bundle.js",
        DOCS_PATH + "/swagger-ui.css": "swagger-ui.css",
        REDOC_PATH + "/redoc.standalone.js": "redoc.standalone.js",
    }

    async def page(request: Request) -> Response:
        text, kind, policy = pages[request.url.path]
        return _text(request, text.encode(), kind, policy=policy)

    async def file(request: Request) -> Response:
        return await _file(request, asset(files[request.url.path]))

    app.add_route(OPENAPI_PATH, openapi, include_in_schema=False)
    for path in pages:
        app.add_route(path, page, include_in_schema=False)
    for path in files:
        app.add_route(path, file, include_in_schema=False)


def _text(request: Request, content: bytes, kind: str, *, policy: str | None = None) -> Response:
    """Asked for anew each time, and sent only when it is another one."""
    # Weak: what is sent may be compressed.
    headers = {"ETag": f'W/"{_tag(content)}"', "Cache-Control": "no-cache"}
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers | {"Content-Type": kind})


async def _file(request: Request, found: Asset) -> Response:
    """As it is stored, or unpacked for the few who can't read that."""
    is_packed = takes_gzip(request.scope["headers"])
    headers = {
        "ETag": f'"{found.tag}-gzip"' if is_packed else f'"{found.tag}"',
        "Cache-Control": f"public, max-age={KEPT_S}",
        "Vary": "Accept-Encoding",
    }
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = found.media_type
    if is_packed:
        return Response(found.packed, 200, headers | {"Content-Encoding": "gzip"})
    return Response(await asyncio.to_thread(gzip.decompress, found.packed), 200, headers)
