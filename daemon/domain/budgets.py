"""What a tier may do: classes of requests, the budget of each, and where somebody stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from daemon.domain.sliding_window import WINDOW_S

BURST_S = 10
"""A budget of points holds what it gets in so many seconds."""
SHARE = 100
"""A process takes a hundredth of a budget by the hour at a time, so that what it does not use is
missed by nobody."""


NOBODY = "anonymous"
"""Stands where a tier does, for who has shown no key."""


class Payer(NamedTuple):
    """A key or account in whose budgets the requests of another key are counted, too."""

    subject: str
    tier: str


class RateClass(StrEnum):
    """Kinds of requests with a budget of their own: those of a key, and those of an address without
    a credential, or with one that was refused. `SERIES` are the new series that requests bring."""

    INGEST = "ingest"
    QUERY = "query"
    CONTROL = "control"
    STREAM = "stream"
    SERIES = "series"
    ANONYMOUS = "anonymous"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Policy:
    """`limit` requests, or new series, in any `lasts_s`; with `per_s`, points: so many a second,
    and `limit` at once."""

    rate_class: RateClass
    tier: str
    limit: int
    per_s: int = 0
    lasts_s: int = WINDOW_S

    @property
    def window_s(self) -> int:
        return BURST_S if self.per_s else self.lasts_s

    @property
    def unit(self) -> str:
        if self.rate_class is RateClass.SERIES:
            return "series"
        return "points" if self.per_s else "requests"

    def chunk(self, remaining: int) -> int:
        """How much to take at once while so much is left for all: less towards the end."""
        if self.per_s:
            return max(1, self.limit // 20)
        return max(1, min(self.limit // SHARE, remaining // 20))


class Standing(NamedTuple):
    """Where somebody stands: of the policy `remaining` is left now, and more comes in `reset_in_s`
    seconds. Without a policy there is no limit."""

    policy: Policy | None = None
    remaining: int = 0
    reset_in_s: int = 0


UNLIMITED = Standing()


@dataclass(frozen=True, slots=True)
class TierNumbers:
    """The numbers of a tier; 0 is no limit."""

    query_per_hour: int = 0
    control_per_hour: int = 0
    points_per_s: int = 0
    streams_per_hour: int = 0
    series_per_hour: int = 0


Policies = Mapping[tuple[str, RateClass], Policy]


def policies_of(tiers: Mapping[str, TierNumbers]) -> Policies:
    """The policies by tier and class; what has none is not limited."""
    found: dict[tuple[str, RateClass], Policy] = {}
    for tier, numbers in tiers.items():
        hourly = (
            (RateClass.QUERY, numbers.query_per_hour),
            (RateClass.CONTROL, numbers.control_per_hour),
            (RateClass.STREAM, numbers.streams_per_hour),
            (RateClass.SERIES, numbers.series_per_hour),
        )
        for rate_class, limit in hourly:
            if limit:
                found[tier, rate_class] = Policy(rate_class, tier, limit)
        if numbers.points_per_s:
            per_s = numbers.points_per_s
            policy = Policy(RateClass.INGEST, tier, per_s * BURST_S, per_s)
            found[tier, RateClass.INGEST] = policy
    return found
