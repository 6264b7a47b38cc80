"""What a holder may do of all that there is: by scope, and by what the scope alone does not say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from daemon.domain.access import Principal

ANY_SCOPE = "any"
"""Who has a credential may do it."""
NO_SCOPE = "none"
"""It needs no credential."""
_OF_ALL_DEVICES = frozenset(
    {
        "create_metric", "change_metric", "delete_metric", "create_group", "change_group",
        "delete_group", "add_group_device", "remove_group_device",
    }
)  # fmt: skip
"""What they change concerns all devices, so that who is bound to some may not."""
_OF_ALL_METRICS = frozenset({"delete_device"})
_OF_EVERYTHING = frozenset(
    {
        "service_stats", "create_channel", "change_channel", "delete_channel", "test_channel",
        "list_journal_partitions", "run_retention",
    }
)  # fmt: skip
"""They are about all devices and metrics."""
_FOR_GOOD = frozenset({"create_account"})
"""It would outlive a credential that ends."""
_OF_OWN_CREDENTIALS = frozenset({"create_key", "rotate_key", "create_account", "make_ticket"})
"""What they make would outlive the right that another issuer gave."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the OpenAPI document names it, and the scope that it needs."""

    operation: str
    method: str
    path: str
    scope: str


class Lack(StrEnum):
    """Why a holder may not do something."""

    STATE = "state"
    SCOPE = "scope"
    PATTERNS = "patterns"
    EXPIRES = "expires"
    ISSUER = "issuer"


def lack_of(principal: Principal, operation: Operation, *, is_alive: bool) -> Lack | None:
    """What keeps the holder from an operation, whatever it is about; None: nothing does.

    Which devices and metrics it may be about say the patterns of the holder.
    """
    if operation.scope == NO_SCOPE:
        return None
    if not is_alive:
        return Lack.STATE
    if operation.scope not in (ANY_SCOPE, *principal.scopes) and "admin" not in principal.scopes:
        return Lack.SCOPE
    if _lies_outside(principal, operation.operation):
        return Lack.PATTERNS
    if principal.is_foreign and operation.operation in _OF_OWN_CREDENTIALS:
        return Lack.ISSUER
    if principal.ends_at is not None and operation.operation in _FOR_GOOD:
        return Lack.EXPIRES
    return None


def _lies_outside(principal: Principal, name: str) -> bool:
    return (
        (principal.is_bound and name in _OF_ALL_DEVICES)
        or (principal.metrics is not None and name in _OF_ALL_METRICS)
        or (not principal.sees_everything and name in _OF_EVERYTHING)
    )
