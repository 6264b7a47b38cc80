"""What a new key shall be, and whether that is no more than its maker may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from daemon.domain.access import SCOPES, TIERS, Principal
from daemon.domain.budgets import Payer
from daemon.domain.errors import Invalid
from daemon.domain.patterns import all_covered, is_pattern


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key shall be; None means every device or metric, and no end."""

    name: str
    scopes: Sequence[str]
    tier: str
    lifetime: timedelta | None = None
    devices: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    signing_key: bytes | None = None


def check_patterns(wanted: KeyRequest) -> None:
    errors = [
        {
            "pointer": f"/{field}/{index}",
            "code": "bad_pattern",
            "detail": "a pattern holds letters, digits and _ . : / - * ? only",
        }
        for field in ("devices", "groups", "metrics")
        for index, pattern in enumerate(getattr(wanted, field) or ())
        if not is_pattern(pattern)
    ]
    if errors:
        raise Invalid("A pattern is not valid.", code="bad_pattern", errors=errors)


def is_within(narrow: Principal, wide: Principal) -> bool:
    """Whether `narrow` may do nothing that `wide` may not."""
    has_scopes = "admin" in wide.scopes or narrow.scopes <= wide.scopes
    return (
        has_scopes
        and TIERS.index(narrow.tier) <= TIERS.index(wide.tier)
        and _sees_no_more_devices(narrow, wide)
        and all_covered(wide.metrics, narrow.metrics)
    )


def payers_of(maker: Principal) -> tuple[Payer, ...]:
    """Who pays, beside itself, for a key that `maker` makes: the maker and those who pay for that,
    so that nobody gets more by making keys; nobody where an administrator gives it.

    One of each tier is enough: who is counted in a budget of the same size has none to spare.
    """
    if "admin" in maker.scopes:
        return ()
    if maker.payers and maker.payers[-1].tier == maker.tier:
        return maker.payers
    return (*maker.payers, Payer(maker.key_id, maker.tier))


def is_widest(principal: Principal) -> bool:
    """Whether nobody may do more."""
    return is_within(Principal("", "", frozenset(SCOPES), TIERS[-1]), principal)


def _sees_no_more_devices(narrow: Principal, wide: Principal) -> bool:
    """A key sees the devices of its patterns and of its groups; with neither it sees all."""
    if wide.devices is None and wide.groups is None:
        return True
    if narrow.devices is None and narrow.groups is None:
        return False
    return all_covered(wide.devices or (), narrow.devices or ()) and all_covered(
        wide.groups or (), narrow.groups or ()
    )


def principal_of(wanted: KeyRequest) -> Principal:
    return Principal(
        "",
        wanted.name,
        frozenset(wanted.scopes),
        wanted.tier,
        _tupled(wanted.devices),
        _tupled(wanted.groups),
        _tupled(wanted.metrics),
    )


def _tupled(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
