"""Which alerts silence raises: as few as explain it. How long a device may be silent is
domain/alerts', who is silent is found by service/silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

FLOOD_MAX = 10
"""One look raises no more alerts of a rule than this; over it one stands for all."""
GROUP_SHARE = 0.8
"""A group is silent when so many of its devices are, or are about to be."""
LASTING_SHARE = 0.5
"""Its alert lasts while more than these are."""
DOUBT_US = 30_000_000
"""While others are about to fall silent, too, one waits so long for what becomes of them."""


class Scope(StrEnum):
    """What is silent."""

    METRIC = "metric"
    DEVICE = "device"
    GROUP = "group"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True)
class Circle:
    """Devices that are explained together: a group, or with None all that a rule watches."""

    group_id: str | None
    devices: frozenset[str]


@dataclass(slots=True)
class Explained:
    """Circles that are silent as a whole, and devices that are so by themselves."""

    circles: list[Circle] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)


def explain(
    silent: set[str],
    circles: Sequence[Circle],
    *,
    suspects: set[str],
    known: frozenset[str],
    is_doubtful: bool,
) -> Explained:
    """The fewest alerts for these newly silent devices.

    circles      widest first; the first holds every watched device
    suspects     that missed samples, but are not silent yet
    known        that have alerts of their own already: they count, and need no more
    is_doubtful  the first fell silent so lately that the suspects may explain it
    """
    found, left = Explained(), set(silent)
    for circle in circles:
        own = left & circle.devices
        away = (silent | known) & circle.devices
        missing = away | (suspects & circle.devices)
        if not own or len(missing) < max(2, GROUP_SHARE * len(circle.devices)):
            continue
        if len(away) == len(circle.devices) or not is_doubtful:
            found.circles.append(circle)
        left -= own
    if len(found.circles) + len(left) > FLOOD_MAX:
        return Explained([circles[0]])
    found.devices = left
    return found


def is_lasting(circle: Circle, silent: set[str], suspects: set[str]) -> bool:
    """Whether the alert of a circle still stands for its silent devices; else each that is left
    gets its own, which are few then."""
    away = silent & circle.devices
    if len(away) > FLOOD_MAX:
        return True
    return len(away) > 1 and len(away | (suspects & circle.devices)) > LASTING_SHARE * len(
        circle.devices
    )


def ranked(circles: Iterable[Circle]) -> list[Circle]:
    """The widest first; of equals the first."""
    return sorted(circles, key=lambda circle: -len(circle.devices))
