"""When devices were last heard of, from the live views.

The newest event time of any of their series counts.
"""

from __future__ import annotations

import numpy as np

from daemon.domain.access import Principal
from daemon.live.latest import NEVER_US, Latest
from daemon.live.registry import Registry


class Presence:
    """Reads the registry and the latest points of this process."""

    def __init__(self, registry: Registry, latest: Latest) -> None:
        self._registry = registry
        self._latest = latest

    def last_seen_us(self, device_id: str, *, by: Principal) -> int | None:
        """Event time of the newest point of a device that the key sees; None when it has none."""
        own = self._registry.metrics_of(device_id).items()
        series_ids = [series_id for name, series_id in own if by.sees_metric(name)]
        if not series_ids:
            return None
        newest = int(self._latest.times_us(np.array(series_ids, np.int32)).max())
        return None if newest == NEVER_US else newest

    def active_devices(self, since_us: int, *, by: Principal) -> list[str]:
        """Ids of the devices with a point at or after this time, of a metric that the key sees."""
        series_ids = np.flatnonzero(self._registry.kinds).astype(np.int32)
        recent = series_ids[self._latest.times_us(series_ids) >= since_us]
        device_of, metric_of = self._registry.device_of, self._registry.metric_of
        found = dict.fromkeys(
            device_of[series_id]
            for series_id in recent.tolist()
            if by.metrics is None or by.sees_metric(metric_of[series_id] or "")
        )
        return [device_id for device_id in found if device_id is not None]

    def active_metrics(self, series_ids: list[int], since_us: int) -> int:
        """How many of these series have a point at or after this time."""
        times_us = self._latest.times_us(np.array(series_ids, np.int32))
        return int((times_us >= since_us).sum())
