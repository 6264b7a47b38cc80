"""httpx without its own command line, which would bring click, rich and pygments (40 ms)."""

import sys
from typing import cast

# httpx/__init__.py tries to import `httpx._main` and goes on without it; None makes it go on.
cast("dict[str, object]", sys.modules).setdefault("httpx._main", None)

import httpx  # noqa: E402 - only now

__all__ = ["httpx"]
