"""Identifiers of our own things: a prefix and a time-sortable Crockford base32 text."""

from __future__ import annotations

import secrets

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def crockford(number: int, *, digits: int) -> str:
    """`number` in lower-case Crockford base32, exactly `digits` long
    (https://www.crockford.com/base32.html)."""
    out = []
    for _ in range(digits):
        number, digit = divmod(number, 32)
        out.append(CROCKFORD[digit])
    return "".join(reversed(out))


def new_id(prefix: str, *, now_us: int) -> str:
    """`<prefix>_` + 10 digits of milliseconds + 16 random digits (80 bits), as in a ULID."""
    stamp = crockford(now_us // 1000, digits=10)
    return f"{prefix}_{stamp}{crockford(secrets.randbits(80), digits=16)}"
