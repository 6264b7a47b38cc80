"""Which series a request means, as far as the asker may see them, in the order answers have."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.domain.access import Principal
from daemon.domain.block import Int32s, Int64s
from daemon.domain.errors import Invalid
from daemon.domain.series_name import SeriesName
from daemon.live.registry import Registry

SERIES_MAX = 10_000
"""One request may read this many series; an export has no such bound."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Series by device, then metric name.

    series_ids  int32 (n,)  in that order
    keys        (device id, metric name) of each, ascending
    """

    series_ids: Int32s
    keys: list[tuple[str, str]]
    names: dict[int, SeriesName]

    def __len__(self) -> int:
        return len(self.keys)

    def ranks_of(self, series_ids: Int32s) -> Int64s:
        """Place of each series in the order of names."""
        order = np.argsort(self.series_ids)
        return np.asarray(order[np.searchsorted(self.series_ids[order], series_ids)], np.int64)

    def rank_after(self, device_id: str, metric_name: str) -> int:
        """Place of the first series behind this name, which need not be one of ours."""
        return bisect_right(self.keys, (device_id, metric_name))


def select(
    registry: Registry,
    principal: Principal,
    *,
    devices: Iterable[str] | None,
    metrics: Iterable[str] | None,
    series_max: int | None = SERIES_MAX,
) -> Selection:
    """The visible series of these devices and metrics; None means all.

    Raises Invalid over the bound.
    """
    found: dict[tuple[str, str], int] = {}
    for series_id in registry.select(devices=devices, metrics=metrics):
        device_id, metric_name = registry.device_of[series_id], registry.metric_of[series_id]
        if device_id is not None and metric_name is not None:
            found[(device_id, metric_name)] = series_id
    if not principal.sees_everything:
        visible = {key for key in found if sees(principal, *key)}
        found = {key: series_id for key, series_id in found.items() if key in visible}
    if series_max is not None and len(found) > series_max:
        raise Invalid(
            f"{len(found)} series are more than {series_max}; name fewer devices or metrics",
            code="too_many_series",
        )
    keys = sorted(found)
    ids = [found[key] for key in keys]
    names = {
        series_id: SeriesName(*key, registry.kind_of(series_id))
        for series_id, key in zip(ids, keys, strict=True)
    }
    return Selection(np.array(ids, np.int32), keys, names)


def sees(principal: Principal, device_id: str, metric_name: str) -> bool:
    """Whether the asker may know of this series."""
    return principal.sees_device(device_id) and principal.sees_metric(metric_name)


def in_groups(
    registry: Registry,
    principal: Principal,
    *,
    devices: Collection[str] | None,
    groups: Sequence[str] = (),
) -> Collection[str] | None:
    """Those of the devices (None: all) that are in any of the groups, by id or name.

    Without groups the devices as they are. Raises Invalid `unknown_group`.
    """
    if not groups:
        return devices
    members = registry.membership.select(groups, by=principal)
    return members if devices is None else [one for one in devices if one in members]
