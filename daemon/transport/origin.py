"""Which web pages may reach the daemon: its own, and those of `[http] cors_origins`."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}

RawHeaders = list[tuple[bytes, bytes]]


def origin_of(headers: RawHeaders) -> str | None:
    """The page that a request comes from; None when it is no page's. Several are like `null`."""
    found = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    if not found:
        return None
    return found[0] if len(found) == 1 else "null"


def is_allowed(headers: RawHeaders, *, origins: Collection[str]) -> bool:
    """Whether the request comes from no page, from a page of this daemon, or from one in `origins`.

    A page of ours has the host and port that the request was sent to; its scheme may differ, since
    a proxy may have taken off the TLS. Nothing is compared by its beginning or its end.
    """
    origin = origin_of(headers)
    if origin is None or origin in origins:
        return True
    authority = _authority(origin)
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if authority is None or len(hosts) != 1:
        return False
    scheme = origin.partition(":")[0].lower()
    return authority == _authority(f"{scheme}://{hosts[0]}")


def _authority(origin: str) -> tuple[str, int] | None:
    """Host and port of `scheme://host[:port]`; None for anything else, `null` among it."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if scheme not in _DEFAULT_PORTS or not is_bare or not parts.hostname:
        return None
    return parts.hostname.lower(), port or _DEFAULT_PORTS[scheme]
