"""Silences: which messages they hold back, and for how long. The alerts themselves are recorded all
the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

MATCHERS = ("device_id", "rule_id", "rule_name", "metric_name", "level", "group")
"""All that are given must fit; a text may hold `*` and `?`."""
_GLOB = frozenset("*?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A row of the table. It holds from `starts_at` inclusive to `ends_at` exclusive."""

    silence_id: str
    matchers: Mapping[str, Any]
    starts_at: datetime
    ends_at: datetime
    comment: str
    created_at: datetime
    updated_at: datetime
    created_by: str


def state_of(silence: Silence, *, now: datetime) -> str:
    """Whether it waits, holds or is over."""
    if now >= silence.ends_at:
        return "expired"
    return "active" if now >= silence.starts_at else "pending"


def shown(silence: Silence, *, now: datetime) -> dict[str, Any]:
    """The silence as the contract shows it."""
    fields = {name: getattr(silence, name) for name in Silence.__slots__}
    return fields | {"state": state_of(silence, now=now)}


def fits(
    silence: Silence, about: Mapping[str, str | None], *, in_group: Callable[[str, str], bool]
) -> bool:
    """Whether it holds back a message about this; `in_group(group, device_id)` tells who is where.

    A matcher for what the message does not have does not fit.
    """
    for name, wanted in silence.matchers.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if name == "group":
            device_id = about.get("device_id")
            own = about.get("group_id")
            if not any(
                group == own or (device_id is not None and in_group(group, device_id))
                for group in values
            ):
                return False
        elif not _any_fits(values, about.get(name)):
            return False
    return True


def _any_fits(patterns: Sequence[str], value: str | None) -> bool:
    return value is not None and any(
        # A bracket is a letter here, as in every other pattern.
        pattern == value
        or (not _GLOB.isdisjoint(pattern) and fnmatchcase(value, pattern.replace("[", "[[]")))
        for pattern in patterns
    )
