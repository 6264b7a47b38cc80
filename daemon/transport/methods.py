"""Which methods a path knows: what a 405 has to name.

Routing alone can't tell: it stops at the first route of the path, and the hot routes are no routes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from fastapi import APIRouter
from fastapi.routing import APIRoute

_PARAMETER = re.compile(r"\{\w+\}")

Paths = Mapping[str, Collection[str]]


def paths_of(routers: Iterable[APIRouter], *, prefix: str = "") -> dict[str, set[str]]:
    """Methods by path template below the prefix, without what the document says of them."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(prefix + route.path_format, set()).update(route.methods or ())
    return found


class Methods:
    """Methods by path; patterns are made of the templates when one is needed."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._known: list[tuple[re.Pattern[str], str]] | None = None

    def allowed(self, path: str) -> str:
        """The value of `Allow` (RFC 9110, section 10.2.1); empty where there is nothing."""
        if self._known is None:
            self._known = _compiled(self._paths)
        return next((methods for pattern, methods in self._known if pattern.fullmatch(path)), "")


def _compiled(paths: Paths) -> list[tuple[re.Pattern[str], str]]:
    """Paths without parameters first: `/jobs/latest` is not a job."""
    found = []
    for path in sorted(paths, key=lambda path: (path.count("{"), path)):
        pattern = "[^/]+".join(re.escape(part) for part in _PARAMETER.split(path))
        methods = ", ".join(sorted(paths[path]))
        found.append((re.compile(pattern), methods))
    return found
