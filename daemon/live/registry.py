"""Memory view of the catalogue: series by device and metric, and what definitions say of each.
Loaded by store/series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from daemon.domain.catalog import Definition, SeriesRow
from daemon.domain.kinds import Kind
from daemon.live.groups import Membership

DAY_US = 86_400_000_000
RETENTION_DAYS_DEFAULT = 90
_NO_RETENTION = RETENTION_DAYS_DEFAULT * DAY_US


class Registry:
    """Series ids and their limits; arrays are indexed by series id and grow by doubling.

    kinds         uint8    code of Kind, 0 where there is no series
    low, high     float64  bounds of the definition, -inf and inf without one
    retention_us  int64    how old a point may be
    is_special    bool     the definition has more to check than bounds (its type, or allowed
        values)

    `membership` says who is in which group; it has a version of its own, since a change of groups
    makes no cached series wrong.
    """

    def __init__(self) -> None:
        self.version = 0
        self.epoch = ""
        self.membership = Membership()
        self.devices: dict[str, dict[str, int]] = {}
        self.definitions: dict[str, Definition] = {}
        self.retention_days: dict[str, int] = {}
        self.device_of: list[str | None] = []
        self.metric_of: list[str | None] = []
        self.series_id_max = 0
        self._allocate(1024)

    def _allocate(self, size: int) -> None:
        self.kinds: npt.NDArray[np.uint8] = np.zeros(size, np.uint8)
        self.low: npt.NDArray[np.float64] = np.full(size, -np.inf)
        self.high: npt.NDArray[np.float64] = np.full(size, np.inf)
        self.retention_us: npt.NDArray[np.int64] = np.full(size, _NO_RETENTION, np.int64)
        self.is_special: npt.NDArray[np.bool_] = np.zeros(size, np.bool_)
        self.device_of.extend([None] * (size - len(self.device_of)))
        self.metric_of.extend([None] * (size - len(self.metric_of)))

    def _grow(self, size: int) -> None:
        kinds, low, high = self.kinds, self.low, self.high
        retention_us, is_special = self.retention_us, self.is_special
        n = len(kinds)
        self._allocate(size)
        self.kinds[:n], self.low[:n], self.high[:n] = kinds, low, high
        self.retention_us[:n], self.is_special[:n] = retention_us, is_special

    @property
    def size(self) -> int:
        """Length of the arrays; every series id is smaller."""
        return len(self.kinds)

    @property
    def series_count(self) -> int:
        return sum(len(metrics) for metrics in self.devices.values())

    def add(self, rows: Iterable[SeriesRow]) -> None:
        """Make these series known; known ones are left as they are."""
        for row in rows:
            self.devices.setdefault(row.device_id, {})[row.metric_name] = row.series_id
            if row.series_id >= self.size:
                self._grow(max(self.size * 2, row.series_id + 1))
            self.series_id_max = max(self.series_id_max, row.series_id)
            self.kinds[row.series_id] = row.kind
            self.device_of[row.series_id] = row.device_id
            self.metric_of[row.series_id] = row.metric_name
            self._limit(row.series_id, row.metric_name)

    def replace(
        self,
        rows: Iterable[SeriesRow],
        *,
        definitions: Mapping[str, Definition],
        retention_days: Mapping[str, int],
    ) -> None:
        """Take over a catalogue that was read anew; series that are gone are forgotten."""
        self.devices.clear()
        self.kinds[:] = 0
        self.device_of[:] = [None] * self.size
        self.metric_of[:] = [None] * self.size
        self.definitions = dict(definitions)
        self.retention_days = dict(retention_days)
        self.add(rows)

    def _limit(self, series_id: int, metric_name: str) -> None:
        definition = self.definitions.get(metric_name)
        days = self.retention_days.get(metric_name, RETENTION_DAYS_DEFAULT)
        self.retention_us[series_id] = days * DAY_US
        low, high, special = -np.inf, np.inf, False
        if definition is not None:
            low = -np.inf if definition.min_value is None else definition.min_value
            high = np.inf if definition.max_value is None else definition.max_value
            special = definition.allowed_values is not None or definition.kind != Kind.NUMERIC
        self.low[series_id], self.high[series_id] = low, high
        self.is_special[series_id] = special

    def metrics_of(self, device_id: str) -> dict[str, int]:
        """Metric name -> series id of a device; empty when the device is unknown."""
        return self.devices.get(device_id, {})

    def find(self, device_id: str, metric_name: str) -> int | None:
        return self.devices.get(device_id, {}).get(metric_name)

    def select(
        self, *, devices: Iterable[str] | None = None, metrics: Iterable[str] | None = None
    ) -> list[int]:
        """Series ids of these devices and metrics (None: all), in the order given, then by
        registration."""
        wanted = None if metrics is None else list(dict.fromkeys(metrics))
        of_devices = self.devices if devices is None else dict.fromkeys(devices)
        found: list[int] = []
        for device_id in of_devices:
            own = self.devices.get(device_id, {})
            if wanted is None:
                found.extend(own.values())
            else:
                found.extend(own[name] for name in wanted if name in own)
        return found

    def kind_of(self, series_id: int) -> Kind:
        return Kind(int(self.kinds[series_id]))
