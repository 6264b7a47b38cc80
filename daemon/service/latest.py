"""The newest point of series, from memory.

Whether it is recent enough to be shown is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.errors import Invalid, NotFound
from daemon.domain.kinds import Kind
from daemon.domain.latest import LatestPoint, as_value
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.service.selection import in_groups, sees

LOOKBACK_DEFAULT_US = 24 * 3_600_000_000
DEVICES_MAX = 100
"""Devices that one request may name."""
FOUND_DEVICES_MAX = 1_000
"""Devices that a request without names may find."""
POINTS_MAX = 10_000
"""Points of one answer."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest point of one series; `age_s` is never negative, `version` names this very point.

    `is_stale` says that it is older than the default lookback.
    """

    device_id: str
    metric_name: str
    value: Any
    context: bytes | None
    time_us: int
    age_s: float
    changed_at_us: int
    previous_value: Any
    is_stale: bool
    version: str


@dataclass(frozen=True, slots=True)
class NewestQuery:
    """Which series; None means all. `lookback_us` 0 means however old.

    `groups`, by id or name, leave those devices that are in any of them; empty means all.
    """

    devices: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    lookback_us: int = LOOKBACK_DEFAULT_US
    groups: tuple[str, ...] = ()


class LatestReads:
    """Answers from the view of the newest points."""

    def __init__(self, latest: Latest, *, registry: Registry, clock: Clock) -> None:
        self._latest = latest
        self._registry = registry
        self._clock = clock

    def one(
        self,
        principal: Principal,
        *,
        device_id: str,
        metric_name: str,
        lookback_us: int = LOOKBACK_DEFAULT_US,
    ) -> Newest:
        """Raises NotFound when there is none within the lookback, or none the asker may see."""
        series_id = self._registry.find(device_id, metric_name)
        if series_id is None or not sees(principal, device_id, metric_name):
            raise NotFound(f"{device_id} has no {metric_name}")
        found = self._newest(series_id, self._clock.now_us(), lookback_us)
        if found is None:
            raise NotFound(f"{device_id} has sent no {metric_name} lately", code="too_old")
        return found

    def find(self, principal: Principal, *, device_id: str, metric_name: str) -> Newest | None:
        """The same however old it is; None when there is none."""
        series_id = self._registry.find(device_id, metric_name)
        if series_id is None or not sees(principal, device_id, metric_name):
            return None
        return self._newest(series_id, self._clock.now_us(), 0)

    def many(self, principal: Principal, query: NewestQuery) -> dict[str, list[Newest]]:
        """Newest points by device; devices without any are absent. Raises Invalid over a bound."""
        devices = self._devices(principal, query)
        metrics = None if query.metrics is None else list(dict.fromkeys(query.metrics))
        now_us = self._clock.now_us()
        found: dict[str, list[Newest]] = {}
        count = 0
        for device_id in devices:
            own = self._registry.metrics_of(device_id)
            rows = []
            for name in sorted(own) if metrics is None else metrics:
                if name in own and sees(principal, device_id, name):
                    newest = self._newest(own[name], now_us, query.lookback_us)
                    if newest is not None:
                        rows.append(newest)
            count += len(rows)
            if count > POINTS_MAX:
                raise Invalid(
                    f"there are more than {POINTS_MAX} points; name fewer devices or metrics",
                    code="too_many_points",
                )
            if rows:
                found[device_id] = rows
        return found

    def devices_within(
        self, principal: Principal, box: tuple[float, float, float, float]
    ) -> list[str]:
        """Devices whose newest geolocation lies in west, south, east, north (degrees)."""
        west, south, east, north = box
        registry = self._registry
        found = []
        for series_id in np.flatnonzero(registry.kinds == Kind.GEOLOCATION).tolist():
            device_id, metric_name = registry.device_of[series_id], registry.metric_of[series_id]
            point = self._latest.get(series_id)
            if device_id is None or metric_name is None or point is None:
                continue
            place = point.value
            if not isinstance(place, dict) or not sees(principal, device_id, metric_name):
                continue
            lat, lon = place.get("lat"), place.get("lon")
            if not isinstance(lat, int | float) or not isinstance(lon, int | float):
                continue
            # A box whose west is east of its east spans the 180th meridian (RFC 7946, 5.2).
            is_inside = west <= lon <= east if west <= east else lon >= west or lon <= east
            if south <= lat <= north and is_inside:
                found.append(device_id)
        return list(dict.fromkeys(found))

    def _devices(self, principal: Principal, query: NewestQuery) -> list[str]:
        devices = in_groups(self._registry, principal, devices=query.devices, groups=query.groups)
        if query.devices is not None:
            return list(dict.fromkeys(devices or ()))
        names = query.metrics
        wanted = None if names is None else set(filter(principal.sees_metric, names))
        known = self._registry.devices
        found = [
            device_id
            for device_id in (known if devices is None else devices)
            if principal.sees_device(device_id)
            and device_id in known
            and (wanted is None or not wanted.isdisjoint(known[device_id]))
        ]
        if len(found) > FOUND_DEVICES_MAX:
            raise Invalid(
                f"{len(found)} devices are more than {FOUND_DEVICES_MAX}; name them",
                code="too_many_devices",
            )
        return sorted(found)

    def _newest(self, series_id: int, now_us: int, lookback_us: int) -> Newest | None:
        point = self._latest.get(series_id)
        if point is None:
            return None
        age_us = max(0, now_us - point.time_us)
        retention_us = int(self._registry.retention_us[series_id])
        if age_us > retention_us or (lookback_us and age_us > lookback_us):
            return None
        kind = self._registry.kind_of(series_id)
        return Newest(
            self._registry.device_of[series_id] or "",
            self._registry.metric_of[series_id] or "",
            as_value(point.value, kind),
            point.context,
            point.time_us,
            age_us / 1e6,
            point.changed_at_us,
            as_value(point.previous_value, kind),
            age_us > LOOKBACK_DEFAULT_US,
            _version(self._registry.epoch, point),
        )


def _version(epoch: str, point: LatestPoint) -> str:
    return f"{epoch}-{point.seq}-{point.series_id}"
