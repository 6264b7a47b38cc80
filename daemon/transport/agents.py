"""What a client calls itself, as far as it may be kept and shown."""

from __future__ import annotations

from functools import lru_cache

from daemon.domain.former_callers import AGENT_MAX
from daemon.redaction import redact

_READ_MAX = 1_024
"""Of a longer header so much is looked at: a secret that ends further on is cut off anyway."""


def agent_of(raw_headers: list[tuple[bytes, bytes]]) -> str:
    """The `User-Agent` without what can't be printed and without secrets; empty when there is none.

    `raw_headers` are those of an ASGI scope: names in lower case.
    """
    found = next((value for name, value in raw_headers if name == b"user-agent"), b"")
    return _shown(found[:_READ_MAX])


@lru_cache(maxsize=1_024)
def _shown(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    # First what can't be seen: it would hide a secret from `redact`, and not from a reader.
    return redact("".join(filter(str.isprintable, text)))[:AGENT_MAX].strip()
