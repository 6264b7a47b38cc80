"""What a person reads about the API: its document, and two pages that show it.

Their scripts and styles come with the daemon (transport/assets, made by deploy/vendor_docs.py), so
that they work on a closed network and ask no other host for anything.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.transport.answers import to_json
from daemon.transport.compression import BYTES_MIN, Coding, coding_of, packer_of, takes_gzip
from daemon.transport.etags import matches
from daemon.transport.origin import RawHeaders

DOCS_PATH = "/api/docs"
REDOC_PATH = "/api/redoc"
OPENAPI_PATH = "/api/openapi.json"
ASSETS = Path(__file__).parent / "assets"
_KEPT = b"public, max-age=3600"
_ASKED_ANEW = b"no-cache"
_HTML, _SCRIPT = b"text/html; charset=utf-8", b"application/javascript"
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


@dataclass(frozen=True, slots=True)
class Page:
    """What is at a path, whole, in each coding it is kept in; `tag` is of what is in it.

    A file that came packed is kept so, and unpacked for the few who can't read that.
    """

    path: str
    media_type: bytes
    bodies: Mapping[Coding | None, bytes]
    tag: str
    cache_control: bytes = _ASKED_ANEW
    policy: str | None = None

    def coding(self, scope: Scope) -> Coding | None:
        """The one to be sent, of those that there are."""
        wanted = coding_of(scope["headers"])
        if wanted in self.bodies:
            return wanted
        return "gzip" if "gzip" in self.bodies and takes_gzip(scope["headers"]) else None

    async def body(self, coding: Coding | None) -> bytes:
        if coding in self.bodies:
            return self.bodies[coding]
        return await asyncio.to_thread(gzip.decompress, self.bodies["gzip"])

    def headers(self, coding: Coding | None) -> RawHeaders:
        """Those of 200 and of 304."""
        own = self.tag if coding is None else f"{self.tag}-{coding}"
        found = [(b"etag", f'"{own}"'.encode()), (b"cache-control", self.cache_control)]
        if len(self.bodies) > 1 or None not in self.bodies:
            found.append((b"vary", b"Accept-Encoding"))
        if self.policy is not None:
            found.append((b"content-security-policy", self.policy.encode()))
        return found


def _text(path: str, content: str, media_type: bytes, *, policy: str | None = None) -> Page:
    body = content.encode()
    return Page(path, media_type, {None: body}, _tag(body), policy=policy)


def _document(make: Callable[[], dict[str, Any]]) -> Page:
    """It takes long to make and to pack: then it is sent to anybody at no cost."""
    body = to_json(make())
    bodies: dict[Coding | None, bytes] = {None: body}
    if len(body) >= BYTES_MIN:
        for coding in ("zstd", "gzip"):
            bodies[coding] = packer_of(coding).add(body, is_last=True)
    return Page(OPENAPI_PATH, b"application/json", bodies, _tag(body))


def _file(path: str, name: str) -> Page:
    packed = (ASSETS / f"{name}.gz").read_bytes()
    kind = b"text/css" if name.endswith(".css") else _SCRIPT
    return Page(path, kind, {"gzip": packed}, _tag(packed), _KEPT)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


_PAGES = (
    _text(DOCS_PATH, SWAGGER_PAGE, _HTML, policy=SWAGGER_POLICY),
    _text(DOCS_PATH + "/start.js", SWAGGER_START, _SCRIPT),
    _text(REDOC_PATH, REDOC_PAGE, _HTML, policy=REDOC_POLICY),
    _text(REDOC_PATH + "/start.js", REDOC_START, _SCRIPT),
)
_FILES = {
    DOCS_PATH + "/swagger-ui-bundle.js": "swagger-ui-bundle.js",
    DOCS_PATH + "/swagger-ui.css": "swagger-ui.css",
    REDOC_PATH + "/redoc.standalone.js": "redoc.standalone.js",
}
DOCS_PATHS = frozenset({OPENAPI_PATH, *(page.path for page in _PAGES), *_FILES})


class Docs:
    """Answers GET of the document, the pages and their files; passes every other request on.

    They need no credential, and who asks for them again and again costs others little: each is made
    once, when it is asked for first.
    """

    def __init__(self, app: ASGIApp, *, document: Callable[[], dict[str, Any]]) -> None:
        self._app = app
        self._made = {page.path: page for page in _PAGES}
        self._makers: dict[str, Callable[[], Page]] = {OPENAPI_PATH: partial(_document, document)}
        self._makers |= {path: partial(_file, path, name) for path, name in _FILES.items()}
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in DOCS_PATHS or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        page = scope["route"] = await self._page(scope["path"])
        coding = page.coding(scope)
        headers, status, body = [*page.headers(coding)], 304, b""
        wanted = [value for name, value in scope["headers"] if name == b"if-none-match"]
        if not wanted or not matches(wanted[0].decode("latin-1"), headers[0][1].decode()):
            status, body = 200, await page.body(coding)
            headers.append((b"content-type", page.media_type))
            headers.append((b"content-length", b"%d" % len(body)))
            if coding is not None:
                headers.append((b"content-encoding", coding.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _page(self, path: str) -> Page:
        page = self._made.get(path)
        if page is None:
            async with self._making:
                page = self._made.get(path)
                if page is None:
                    page = self._made[path] = await asyncio.to_thread(self._makers[path])
        return page
