"""What tokens of another issuer allow here: how its claims become scopes, and what stays fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.domain.access import SCOPES, Principal, Session

NAME_CHARACTERS_MAX = 128
_ONLY_MAPPED = frozenset({"admin", "keys"})
"""Words that other issuers use for other things: they count only where the settings map them."""


@dataclass(frozen=True, slots=True)
class ForeignRights:
    """`scopes` maps a value of the claim to scopes of ours; without a map the names of our scopes
    count as they are. `devices`, `groups` and `metrics` bind every token of the issuer."""

    scopes_claim: str = "scope"
    scopes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tier: str = "free"
    devices: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None


def foreign_principal(
    claims: Mapping[str, Any], rights: ForeignRights, *, issuer: str, expires_s: float
) -> Principal:
    """Who a token of another issuer is for; without a known scope it may do nothing."""
    subject = str(claims["sub"])
    name = claims.get("name") or claims.get("preferred_username") or subject
    shown = name if isinstance(name, str) and name.isprintable() else subject
    return Principal(
        f"{issuer}:{subject}"[:NAME_CHARACTERS_MAX],
        shown[:NAME_CHARACTERS_MAX],
        frozenset(_scopes(claims.get(rights.scopes_claim), rights.scopes)),
        rights.tier,
        rights.devices,
        rights.groups,
        rights.metrics,
        session=Session(None, expires_s),
    )


def _scopes(value: Any, known: Mapping[str, Sequence[str]]) -> list[str]:
    """The scopes of a claim: text with spaces between (RFC 8693, section 4.2), or a list."""
    values = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    found: list[str] = []
    for one in values[:100]:
        if not isinstance(one, str):
            continue
        if known:
            found += known.get(one, ())
        elif one in SCOPES and one not in _ONLY_MAPPED:
            found.append(one)
    return found
