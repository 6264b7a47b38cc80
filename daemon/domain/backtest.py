"""What a rule would have done: its alerts over a history, and numbers about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from daemon.domain.alerts import Change, Transition
from daemon.domain.errors import Invalid

CANDIDATES_MAX = 100
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
FLAP_US = 5 * 60_000_000
"""An alert that fires so soon after the one before was over is a flap."""


@dataclass(frozen=True, slots=True)
class Raised:
    """One alert of a backtest, by event time; `resolved_us` None: open at the end."""

    device_id: str
    fired_us: int
    resolved_us: int | None
    reason: str | None = None
    value: Any = None


def raised(device_id: str, transitions: Iterable[Transition]) -> list[Raised]:
    """The alerts of one device's transitions, in order."""
    found: list[Raised] = []
    for transition in transitions:
        if transition.to is Change.FIRED:
            found.append(Raised(device_id, transition.at_us, None, None, transition.value))
        elif transition.to is Change.RESOLVED and found:
            last = found[-1]
            found[-1] = Raised(
                device_id, last.fired_us, transition.at_us, transition.reason, last.value
            )
    return found


def candidates(
    fields: dict[str, Any], settings: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(what is set, the rule's fields with it) for each combination; without settings the rule.

    Raises Invalid when there are too many.
    """
    names = sorted(settings)
    # Counted before they are made: eight fields of a hundred values are 10**16.
    count = prod(len(settings[name]) for name in names)
    if count > CANDIDATES_MAX:
        raise Invalid(
            f"{count} candidates are more than {CANDIDATES_MAX}", code="too_many_candidates"
        )
    combinations = product(*(settings[name] for name in names))
    sets = [dict(zip(names, values, strict=True)) for values in combinations]
    return [(chosen, fields | chosen) for chosen in sets]


def summary(alerts: Sequence[Raised], *, start_us: int, end_us: int) -> dict[str, Any]:
    """Numbers about the alerts of [start_us, end_us); times in minutes, hours as their start."""
    days = max((end_us - start_us) / DAY_US, 1e-9)
    firing_us = sum((a.resolved_us or end_us) - a.fired_us for a in alerts)
    hours = Counter(a.fired_us // HOUR_US for a in alerts)
    busiest = max(hours, key=lambda hour: (hours[hour], -hour), default=None)
    devices = Counter(a.device_id for a in alerts)
    return {
        "alerts": len(alerts),
        "alerts_per_day": round(len(alerts) / days, 3),
        "open_at_end": sum(a.resolved_us is None for a in alerts),
        "minutes_firing": round(firing_us / 60e6, 3),
        "flaps": _flaps(alerts),
        "devices": len(devices),
        "per_device": dict(devices.most_common(20)),
        "noisiest_hour_us": None if busiest is None else busiest * HOUR_US,
        "noisiest_hour_alerts": 0 if busiest is None else hours[busiest],
    }


def _flaps(alerts: Sequence[Raised]) -> int:
    ended_us: dict[str, int] = {}
    flaps = 0
    for alert in sorted(alerts, key=lambda a: a.fired_us):
        before_us = ended_us.get(alert.device_id)
        flaps += before_us is not None and alert.fired_us - before_us <= FLAP_US
        ended_us[alert.device_id] = alert.resolved_us or alert.fired_us
    return flaps
