"""Figures that monitoring reads: what they are called, what kind they are, and their values."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Labels = tuple[tuple[str, str], ...]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets for durations of requests and commits."""
DELAY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
"""Of what is wanted at once, and may be minutes behind after an outage."""
LATENESS_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 86400.0)
COUNTED_AT_ONCE = 256
COUNTS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)


class Histogram:
    """How many observations fell below each bound, and their sum; an observation costs a search
    among a dozen bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Bound and how many observations are not above it; the last bound is `+Inf`."""
        total, found = 0, []
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        for name, count in zip(names, self.counts, strict=True):
            total += count
            found.append((name, float(total)))
        return found


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    """Where so large a share of observations lies below, evenly spread within their bucket, as
    Prometheus reckons; of those above the last bound only that is known. 0 without any."""
    wanted, passed, lower = sum(counts) * share, 0, 0.0
    if not wanted:
        return 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and passed + count >= wanted:
            return lower + (bound - lower) * (wanted - passed) / count
        passed, lower = passed + count, bound
    return lower


class FigureKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with a value for each combination of its labels.

    `name` is as Prometheus writes it, base unit last; a counter's ends in `_total`.
    """

    name: str
    kind: FigureKind
    help: str
    values: Sequence[tuple[Labels, float]] = ()
    histograms: Sequence[tuple[Labels, Histogram]] = ()


def counter(name: str, said: str, value: float = 0, **labels: str) -> Figure:
    """A counter with one value."""
    return Figure(name, FigureKind.COUNTER, said, [(tuple(labels.items()), float(value))])


def gauge(name: str, said: str, value: float, **labels: str) -> Figure:
    """A gauge with one value."""
    return Figure(name, FigureKind.GAUGE, said, [(tuple(labels.items()), float(value))])


def histogram(name: str, said: str, value: Histogram) -> Figure:
    """A histogram without labels."""
    return Figure(name, FigureKind.HISTOGRAM, said, histograms=[((), value)])


class RouteFigures:
    """Requests by route, method and status, and how long they took by route and method.

    `route` is a template, so that there are few. Requests are kept as they are told, and counted
    many at a time, when somebody reads or COUNTED_AT_ONCE are there: that takes half as long.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._told: list[tuple[tuple[str, str], int, float]] = []
        self._requests: dict[tuple[str, str, int], int] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}

    def count(self, call: tuple[str, str], *, status: int, duration_s: float) -> None:
        """`call` is route and method."""
        self._told.append((call, status, duration_s))
        if len(self._told) >= COUNTED_AT_ONCE:
            self._settle()

    @property
    def requests(self) -> dict[tuple[str, str, int], int]:
        self._settle()
        return self._requests

    @property
    def durations(self) -> dict[tuple[str, str], Histogram]:
        self._settle()
        return self._durations

    def _settle(self) -> None:
        told, self._told = self._told, []
        requests, durations = self._requests, self._durations
        for (call, status), count in Counter((call, status) for call, status, _ in told).items():
            key = (*call, status)
            requests[key] = requests.get(key, 0) + count
        last: tuple[str, str] | None = None
        took = Histogram(SECONDS)
        for call, _, duration_s in told:
            if call is not last:
                took = durations.setdefault(call, Histogram(SECONDS))
                last = call
            took.observe(duration_s)
