"""A key as its owner may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.domain.former_callers import FormerCaller
from daemon.domain.signatures import shown_key
from daemon.store.key_networks import KeyNetwork
from daemon.store.keys import KeyRow


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its owner may see it; `key` is the secret, given once. `networks` are those it comes
    from, `former_callers` who still comes with its former secret; both given of a single key."""

    key_id: str
    name: str
    scopes: list[str]
    tier: str
    devices: list[str] | None
    groups: list[str] | None
    metrics: list[str] | None
    expires_at: datetime | None
    created_at: datetime
    created_by: str
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    former_valid_until: datetime | None = None
    signing_key: str | None = None
    key: str | None = None
    networks: list[KeyNetwork] | None = None
    former_callers: list[FormerCaller] | None = None


def view_of(row: KeyRow, *, key: str | None = None) -> KeyView:
    """What is shown of a stored key; `key` is its secret where it was made just now."""
    return KeyView(
        row.key_id,
        row.name,
        list(row.scopes),
        row.tier,
        listed(row.devices),
        listed(row.groups),
        listed(row.metrics),
        row.expires_at,
        row.created_at,
        row.created_by,
        row.last_used_at,
        row.last_used_from,
        row.former_valid_until,
        shown_key(row.signing_key),
        key,
    )


def listed(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
