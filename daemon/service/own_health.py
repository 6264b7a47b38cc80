"""The daemon's health as points of the device `telemetryd`, so that rules can watch it like any
other device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from daemon.clock import Clock
from daemon.domain.devices import OWN_DEVICE
from daemon.domain.errors import CatalogStale
from daemon.domain.figures import SECONDS, quantile
from daemon.domain.points import Draft
from daemon.live.traffic import Traffic
from daemon.service.ingest import Ingest


class RecentRequests:
    """What requests did between the last two looks, from figures that only grow."""

    def __init__(self, traffic: Traffic, clock: Clock) -> None:
        self._traffic = traffic
        self._clock = clock
        self._before = self._now = self._read()

    def look(self) -> None:
        self._before, self._now = self._now, self._read()

    def p95_ms(self) -> float:
        """Nineteen in twenty took no longer, as far as the buckets tell; 0 without requests."""
        counts = [now - before for now, before in zip(self._now[0], self._before[0], strict=True)]
        return quantile(SECONDS, counts, 0.95) * 1000

    def limited_per_minute(self) -> float:
        """Answers of 429."""
        passed_s = self._now[2] - self._before[2]
        return (self._now[1] - self._before[1]) * 60 / passed_s if passed_s > 0 else 0.0

    def _read(self) -> tuple[list[int], int, float]:
        """Requests by bucket, those that were limited, and when."""
        routes = self._traffic.routes
        counts = [0] * (len(SECONDS) + 1)
        for took in routes.durations.values():
            counts = [a + b for a, b in zip(counts, took.counts, strict=True)]
        limited = sum(n for (_, _, status), n in routes.requests.items() if status == 429)
        return counts, limited, self._clock.monotonic_s()


class OwnHealth:
    """Writes what `read` gives; one process of a fleet does, the one that `is_writer`.

    Points go the way of all points: they wait in the queue, and are refused when it is full.
    """

    def __init__(
        self,
        ingest: Ingest,
        clock: Clock,
        *,
        read: Callable[[], Mapping[str, float]],
        is_writer: Callable[[], bool],
    ) -> None:
        self._ingest = ingest
        self._clock = clock
        self._read = read
        self._is_writer = is_writer

    async def write(self) -> None:
        """One turn. Raises TryLater: then this turn's points are left out."""
        if not self._is_writer():
            return
        numbers = self._read()
        names = [f"{OWN_DEVICE}.{name}" for name in numbers]
        draft = Draft(
            [OWN_DEVICE] * len(names),
            names,
            np.arange(len(names), dtype=np.int32),
            np.full(len(names), self._clock.now_us(), np.int64),
            np.array(list(numbers.values()), np.float64),
        )
        version = self._ingest.catalog_version
        admission = await self._ingest.admit(draft)
        if admission.block is None:
            return
        try:
            await self._ingest.commit([admission.block], catalog_version=version)
        except CatalogStale:
            # New series of our own, or somebody's: the next turn knows them.
            await self._ingest.reload()
