"""Figures about one device and about the whole service (R-099, R-100); zeros without data.

History is counted in chunks and rollups up to the compactor's position, and what came later in the
head.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden
from daemon.domain.merge import winners
from daemon.live.head import Head
from daemon.live.presence import Presence
from daemon.live.registry import Registry
from daemon.live.traffic import Traffic
from daemon.store.stats import StatsStore, TotalVolumes

HOUR_US = 3_600_000_000
HOURS_SHOWN = 24
DAY_MINUTES = 24 * 60
METRIC_TYPES = ("gauge", "counter", "histogram")
TOP_METRICS_MAX = 10
# Totals are counted anew after this long, or twenty times as long as counting took: at most 5 % of
# one connection.
TOTALS_KEPT_S_MIN = 1.0
TOTALS_KEPT_FACTOR = 20
# Up to so many rows of the head a corrected point counts once; above, sorting would cost more than
# the answer is worth.
DISTINCT_ROWS_MAX = 200_000

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """Fields of R-099.

    `avg_frequency` is points a minute over the last 24 hours, sizes are bytes.
    """

    device_id: str
    total_metrics: int = 0
    active_metrics: int = 0
    data_points_count: int = 0
    last_update: datetime | None = None
    storage_size: int = 0
    avg_frequency: float = 0.0
    last_24h_points: int = 0
    last_24h_alerts: int = 0
    metrics_by_type: dict[str, int] = field(default_factory=dict)
    top_metrics: list[dict[str, str | int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """Fields of R-100.

    `avg_latency` is milliseconds a request, `error_rate` the share of 5xx answers.
    """

    total_devices: int
    active_devices: int
    total_metrics: int
    total_data_points: int
    points_per_second: float
    avg_latency: float
    error_rate: float
    last_24h_points: int
    last_24h_alerts: int
    devices_by_type: dict[str, int]
    metrics_by_type: dict[str, int]
    data_by_hour: list[dict[str, datetime | int]]


@dataclass(frozen=True, slots=True)
class Tail:
    """Keys of the points behind a position of the journal, which are in no chunk yet."""

    series_ids: Int32s
    times_us: Int64s

    def of(self, series_ids: list[int]) -> Tail:
        rows = np.flatnonzero(np.isin(self.series_ids, np.array(series_ids, np.int32)))
        return _distinct(self.series_ids[rows], self.times_us[rows])


class Stats:
    def __init__(
        self,
        store: StatsStore,
        *,
        clock: Clock,
        registry: Registry,
        head: Head,
        presence: Presence,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._registry = registry
        self._head = head
        self._presence = presence
        self._traffic = traffic
        self._totals: TotalVolumes | None = None
        self._totals_until_s = 0.0
        self._counting = asyncio.Lock()

    async def device(self, device_id: str, *, by: Principal) -> DeviceFigures:
        """Figures of what the key may see of a device; zeros also for one that does not exist."""
        metrics = self._registry.metrics_of(device_id) if by.sees_device(device_id) else {}
        series = {name: sid for name, sid in metrics.items() if by.sees_metric(name)}
        if not series:
            return DeviceFigures(device_id, metrics_by_type=self._by_type(()))
        # The head is read first: what is compacted meanwhile is then counted in chunks only, by its
        # position.
        keys = self._head.keys()
        since_us = self._since_us()
        series_ids = list(series.values())
        stored = await self._store.of_series(series_ids, since_hour=since_us // HOUR_US)
        tail = _behind(stored.position, keys).of(series_ids)
        points_of = Counter(stored.points_of)
        points_of.update(tail.series_ids.tolist())
        recent = stored.points_since + int((tail.times_us >= since_us).sum())
        last_us = self._presence.last_seen_us(device_id, by=by)
        day_us = self._clock.now_us() - HOURS_SHOWN * HOUR_US
        return DeviceFigures(
            device_id,
            total_metrics=len(series),
            active_metrics=self._presence.active_metrics(series_ids, day_us),
            data_points_count=sum(points_of.values()),
            last_update=None if last_us is None else as_datetime(last_us),
            storage_size=sum(stored.bytes_of.values()),
            avg_frequency=round(recent / DAY_MINUTES, 6),
            last_24h_points=recent,
            last_24h_alerts=await self._store.alerts_since(
                as_datetime(day_us), device_id=device_id, metric_names=list(series)
            ),
            metrics_by_type=self._by_type(series),
            top_metrics=_top(series, points_of),
        )

    async def service(self, *, by: Principal) -> ServiceFigures:
        """Figures of everything. Raises Forbidden for a key that sees only a part."""
        if not by.sees_everything:
            raise Forbidden(
                "figures of the whole service need a key without patterns", code="outside_patterns"
            )
        keys = self._head.keys()
        since_us = self._since_us()
        stored = await self._total_volumes(since_us // HOUR_US)
        tail = self._known(_behind(stored.position, keys))
        by_hour = Counter(
            {h: n for h, n in stored.points_of_hour.items() if h >= since_us // HOUR_US}
        )
        hours, counts = np.unique(
            tail.times_us[tail.times_us >= since_us] // HOUR_US, return_counts=True
        )
        by_hour.update(dict(zip(hours.tolist(), counts.tolist(), strict=True)))
        names = set(self._registry.definitions)
        for metrics in self._registry.devices.values():
            names.update(metrics)
        day_us = self._clock.now_us() - HOURS_SHOWN * HOUR_US
        return ServiceFigures(
            total_devices=sum(stored.devices_of_type.values()),
            active_devices=len(self._presence.active_devices(day_us, by=by)),
            total_metrics=len(names),
            total_data_points=stored.points + len(tail.times_us),
            points_per_second=round(self._traffic.points_per_second, 3),
            avg_latency=round(self._traffic.latency_ms_avg, 3),
            error_rate=round(self._traffic.error_rate, 6),
            last_24h_points=sum(by_hour.values()),
            last_24h_alerts=await self._store.alerts_since(as_datetime(day_us)),
            devices_by_type=stored.devices_of_type,
            metrics_by_type=self._by_type(names),
            data_by_hour=[
                {"hour": as_datetime(hour * HOUR_US), "count": count}
                for hour, count in sorted(by_hour.items())
            ],
        )

    def _known(self, tail: Tail) -> Tail:
        """Without the points of devices that were deleted, which the head forgets later."""
        rows = np.flatnonzero(self._registry.kinds[tail.series_ids])
        return Tail(tail.series_ids[rows], tail.times_us[rows])

    def _since_us(self) -> int:
        """The start of the oldest of the last 24 hours, the running one among them."""
        return (self._clock.now_us() // HOUR_US - HOURS_SHOWN + 1) * HOUR_US

    async def _total_volumes(self, since_hour: int) -> TotalVolumes:
        """Counted now, or a moment ago if the head still holds all that came later."""
        async with self._counting:
            totals = self._totals
            is_fresh = self._clock.monotonic_s() < self._totals_until_s
            if totals is None or not is_fresh or self._head.trimmed_to > totals.position:
                began_s = self._clock.monotonic_s()
                totals = await self._store.of_all(since_hour=since_hour)
                now_s = self._clock.monotonic_s()
                kept_s = max(TOTALS_KEPT_S_MIN, TOTALS_KEPT_FACTOR * (now_s - began_s))
                self._totals, self._totals_until_s = totals, now_s + kept_s
            return totals

    def _by_type(self, names: Iterable[str]) -> dict[str, int]:
        """How many of these metrics there are of each metric type; one without a definition is a
        gauge."""
        found = dict.fromkeys(METRIC_TYPES, 0)
        for name in names:
            definition = self._registry.definitions.get(name)
            found["gauge" if definition is None else definition.metric_type] += 1
        return found


def _behind(position: int, keys: tuple[Int64s, Int32s, Int64s]) -> Tail:
    seqs, series_ids, times_us = keys
    rows = np.flatnonzero(seqs > position)
    if len(rows) > DISTINCT_ROWS_MAX:
        return Tail(series_ids[rows], times_us[rows])
    return _distinct(series_ids[rows], times_us[rows])


def _distinct(series_ids: Int32s, times_us: Int64s) -> Tail:
    rows = winners(series_ids, times_us) if len(series_ids) else None
    return Tail(series_ids, times_us) if rows is None else Tail(series_ids[rows], times_us[rows])


def _top(series: dict[str, int], points_of: Counter[int]) -> list[dict[str, str | int]]:
    """The metrics with most points, most first; equal ones by name."""
    ranked = sorted(series, key=lambda name: (-points_of[series[name]], name))
    return [{"name": name, "points": points_of[series[name]]} for name in ranked[:TOP_METRICS_MAX]]
