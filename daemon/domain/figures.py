"""Figures that monitoring reads: what they are called, what kind they are, and their values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Labels = tuple[tuple[str, str], ...]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets for durations of requests and commits."""
DELAY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
"""Of what is wanted at once, and may be minutes behind after an outage."""
LATENESS_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 86400.0)
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

    def observe_all(self, values: list[float]) -> None:
        """As `observe` of each; of many, the bounds are looked up among the values."""
        ordered, below = sorted(values), 0
        for at, bound in enumerate(self.bounds):
            upto = bisect_right(ordered, bound, below)
            self.counts[at] += upto - below
            below = upto
        self.counts[-1] += len(ordered) - below
        self.sum += sum(values)

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

    `route` is a template, so that there are few.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}

    def count(self, call: tuple[str, str], *, status: int, durations_s: list[float]) -> None:
        """Requests of one kind; `call` is route and method."""
        key = (*call, status)
        self.requests[key] = self.requests.get(key, 0) + len(durations_s)
        took = self.durations.get(call)
        if took is None:
            took = self.durations[call] = Histogram(SECONDS)
        took.observe_all(durations_s)
