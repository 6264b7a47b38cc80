"""Which methods a path knows, as the OpenAPI document says: what a 405 has to name.

Routing alone can't tell: it stops at the first route of the path, and the hot routes are no routes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_PARAMETER = re.compile(r"\{\w+\}")

Paths = Mapping[str, Mapping[str, Any]]


class Methods:
    """Methods by path; `paths` gives those of the document, and is asked once, when needed."""

    def __init__(self, paths: Callable[[], Paths]) -> None:
        self._paths = paths
        self._known: list[tuple[re.Pattern[str], str]] | None = None

    def allowed(self, path: str) -> str:
        """The value of `Allow` (RFC 9110, section 10.2.1); empty where there is nothing."""
        if self._known is None:
            self._known = _compiled(self._paths())
        return next((methods for pattern, methods in self._known if pattern.fullmatch(path)), "")


def _compiled(paths: Paths) -> list[tuple[re.Pattern[str], str]]:
    """Paths without parameters first: `/jobs/latest` is not a job."""
    found = []
    for path in sorted(paths, key=lambda path: (path.count("{"), path)):
        pattern = "[^/]+".join(re.escape(part) for part in _PARAMETER.split(path))
        methods = ", ".join(sorted(method.upper() for method in paths[path]))
        found.append((re.compile(pattern), methods))
    return found
