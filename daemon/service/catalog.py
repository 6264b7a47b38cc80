"""Which series the points of a draft belong to, and what the catalogue says of each; new series are
registered here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from daemon import faults
from daemon.domain import admission
from daemon.domain.admission import Limits, Window
from daemon.domain.catalog import SeriesRow
from daemon.domain.errors import Busy
from daemon.domain.kinds import Kind
from daemon.domain.points import UNDECODED, Draft, is_name
from daemon.live.registry import DAY_US, RETENTION_DAYS_DEFAULT, Registry
from daemon.service.series_budget import Asker, SeriesBudget
from daemon.store.series import SeriesStore

Names = tuple[str, str]
"""Device id and metric name."""
_NUMERIC = int(Kind.NUMERIC)
_TOO_MANY_NEW = (
    "cardinality_limit",
    "the key has brought as many new series in an hour as its tier may",
)
KNOWN_LIMITS_MAX = 8_192
"""Over it they are looked up anew."""
REGISTER_AT_ONCE = 2
"""Requests whose new series are registered at a time."""
REGISTER_WAIT_S = 10.0
"""How long others wait for their turn; then they are answered 503."""


@dataclass(slots=True)
class _New:
    """What a draft would add: metrics of each device, and those devices that nobody knows yet."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Catalog:
    """Bounds: over them points of new names are refused with `cardinality_limit`, known ones go
    on."""

    series: SeriesStore
    registry: Registry
    devices_max: int = 200_000
    metrics_per_device_max: int = 1_000
    budget: SeriesBudget | None = None
    _known: dict[tuple[tuple[str, ...], tuple[str, ...]], Limits] = field(default_factory=dict)
    _known_version: int = -1
    _register_turns: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(REGISTER_AT_ONCE)
    )

    async def limits_of(
        self, draft: Draft, window: Window, *, dry_run: bool = False, by: Asker | None = None
    ) -> Limits:
        """The limits of the draft's keys; `by` pays for new series, None has as many as it likes.

        Raises StoreUnavailable when a series has to be registered and the database is away.
        """
        keys = (tuple(draft.devices), tuple(draft.metrics))
        if self._known_version == self.registry.version:
            known = self._known.get(keys)
            if known is not None:
                return known
        limits = await self._find(draft, window, dry_run=dry_run, by=by)
        if not limits.refused and limits.series_ids.all() and not dry_run:
            self._remember(keys, limits)
        return limits

    def _remember(self, keys: tuple[tuple[str, ...], tuple[str, ...]], limits: Limits) -> None:
        """Keep limits until the catalogue is read anew; a device sends the same metrics always."""
        is_stale = self._known_version != self.registry.version
        if is_stale or len(self._known) >= KNOWN_LIMITS_MAX:
            self._known.clear()
        self._known_version = self.registry.version
        self._known[keys] = limits

    async def _find(
        self, draft: Draft, window: Window, *, dry_run: bool, by: Asker | None
    ) -> Limits:
        devices = self.registry.devices
        series_ids = []
        for device_id, metric_name in zip(draft.devices, draft.metrics, strict=True):
            series_id = devices.get(device_id, {}).get(metric_name)
            if series_id is None:
                return await self._register(draft, window, dry_run=dry_run, by=by)
            series_ids.append(series_id)
        return _limits_of(self.registry, draft, series_ids, refused={})

    def plain_series(
        self, names: Names, window: Window, *, time_us: int, number: float
    ) -> int | None:
        """The id of a numeric series that takes this point without any further check, else None."""
        registry = self.registry
        series_id = registry.find(*names)
        # item() gives Python's own numbers; comparing numpy's costs ten times as much.
        if (
            series_id is None
            or registry.kinds.item(series_id) != _NUMERIC
            or registry.is_special.item(series_id)
            or not registry.low.item(series_id) <= number <= registry.high.item(series_id)
            or not window.covers(time_us, retention_us=registry.retention_us.item(series_id))
        ):
            return None
        return series_id

    async def _register(
        self, draft: Draft, window: Window, *, dry_run: bool, by: Asker | None
    ) -> Limits:
        """Register what is new and has a point worth storing; collect why the others may not be."""
        first_rows = self._first_viable_rows(draft, window)
        refused: dict[int, tuple[str, str]] = {}
        wanted: dict[Names, Kind] = {}
        new = _New()
        for key, names in enumerate(zip(draft.devices, draft.metrics, strict=True)):
            if self.registry.find(*names) is not None:
                continue
            why = self._why_no_series(names, new)
            if why is not None:
                refused[key] = why
            elif first_rows[key] >= 0:
                new.metrics.setdefault(names[0], set()).add(names[1])
                if names[0] not in self.registry.devices:
                    new.devices.add(names[0])
                wanted[names] = self._kind(draft, names[1], first_rows[key])
        registry = self.registry
        if wanted and dry_run:
            registry = _scratch(self.registry, draft, wanted)
        elif wanted:
            paid = await self._pay_for(wanted, by)
            await self._add(paid, by)
            for key, names in enumerate(zip(draft.devices, draft.metrics, strict=True)):
                if names in wanted and names not in paid:
                    refused[key] = _TOO_MANY_NEW
        series_ids = [
            registry.find(*names) or 0 for names in zip(draft.devices, draft.metrics, strict=True)
        ]
        return _limits_of(registry, draft, series_ids, refused=refused)

    async def _pay_for(self, wanted: dict[Names, Kind], by: Asker | None) -> dict[Names, Kind]:
        """Those of the new series that the budget of their sender has room for: the first ones."""
        if self.budget is None or by is None:
            return wanted
        granted = await self.budget.take(by, len(wanted))
        return dict(islice(wanted.items(), granted))

    async def _add(self, paid: dict[Names, Kind], by: Asker | None) -> None:
        """Register series. Raises Busy, StoreUnavailable; then they are not paid for."""
        if not paid:
            return
        try:
            async with self._register_turn():
                rows_made = await self.series.register([(*n, kind) for n, kind in paid.items()])
        except BaseException:
            if self.budget is not None and by is not None:
                self.budget.give_back(by, len(paid))
            raise
        faults.point(faults.Point.SERIES_REGISTERED)
        self.registry.add(
            SeriesRow(r.series_id, r.device_id, r.metric_name, r.kind) for r in rows_made
        )

    @asynccontextmanager
    async def _register_turn(self) -> AsyncIterator[None]:
        """Wait here while others register: a thousand new devices would take every connection
        from other work, and give up waiting for one. Raises Busy."""
        try:
            async with asyncio.timeout(REGISTER_WAIT_S):
                await self._register_turns.acquire()
        except TimeoutError:
            raise Busy("too many new series are being registered") from None
        try:
            yield
        finally:
            self._register_turns.release()

    def _first_viable_rows(self, draft: Draft, window: Window) -> list[int]:
        """For each key its first point that only a limit of values could refuse, else -1: a series
        is made for no other."""
        days = [
            self.registry.retention_days.get(name, RETENTION_DAYS_DEFAULT) for name in draft.metrics
        ]
        oldest_us = window.now_us - np.array(days, np.int64) * DAY_US
        times_us = draft.times_us
        is_viable = (times_us <= window.latest_us) & (times_us >= oldest_us[draft.key_of])
        if draft.kinds is not None:
            is_viable &= draft.kinds != UNDECODED
        rows = np.flatnonzero(is_viable)[::-1]
        first_rows = np.full(len(draft.metrics), -1, np.int64)
        # Of several values for one place numpy keeps the last, here that of the first row.
        first_rows[draft.key_of[rows]] = rows
        found: list[int] = first_rows.tolist()
        return found

    def _why_no_series(self, names: Names, new: _New) -> tuple[str, str] | None:
        device_id, metric_name = names
        if not is_name(device_id):
            return "bad_name", "a device id is 1 to 128 characters of A-Z a-z 0-9 _ . : / -"
        if not is_name(metric_name):
            return "bad_name", "a metric name is 1 to 128 characters of A-Z a-z 0-9 _ . : / -"
        known = self.registry.devices
        new_here = new.metrics.get(device_id, set())
        count = len(known.get(device_id, {})) + len(new_here)
        if metric_name not in new_here and count >= self.metrics_per_device_max:
            return "cardinality_limit", "the device has as many metrics as a device may have"
        is_new = device_id not in known and device_id not in new.metrics
        if is_new and len(known) + len(new.devices) >= self.devices_max:
            return "cardinality_limit", "there are as many devices as there may be"
        return None

    def _kind(self, draft: Draft, metric_name: str, row: int) -> Kind:
        """The kind of a new series: its definition's, else that of its first value."""
        definition = self.registry.definitions.get(metric_name)
        if definition is not None:
            return definition.kind
        return Kind.NUMERIC if draft.kinds is None else Kind(int(draft.kinds[row]))


def _limits_of(
    registry: Registry,
    draft: Draft,
    series_ids: list[int],
    *,
    refused: dict[int, tuple[str, str]],
) -> Limits:
    ids = np.array(series_ids, np.int32)
    retention_us = registry.retention_us[ids]
    checks = {}
    for key in np.flatnonzero(registry.is_special[ids]).tolist():
        definition = registry.definitions.get(draft.metrics[key])
        if definition is not None:
            checks[key] = partial(admission.check_value, definition.kind, definition.allowed_values)
    for key in np.flatnonzero(ids == 0).tolist():
        # No point of this key is viable; it is told why by the retention of its metric.
        days = registry.retention_days.get(draft.metrics[key], RETENTION_DAYS_DEFAULT)
        retention_us[key] = days * DAY_US
    return Limits(
        ids, registry.kinds[ids], registry.low[ids], registry.high[ids], retention_us, checks,
        refused,
    )  # fmt: skip


def _scratch(registry: Registry, draft: Draft, wanted: dict[Names, Kind]) -> Registry:
    """A registry of just the draft's series, real and wanted, for a dry run."""
    scratch = Registry()
    scratch.definitions, scratch.retention_days = registry.definitions, registry.retention_days
    for at, names in enumerate(dict.fromkeys(zip(draft.devices, draft.metrics, strict=True)), 1):
        known = registry.find(*names)
        kind = wanted.get(names) if known is None else registry.kind_of(known)
        if kind is not None:
            scratch.add([SeriesRow(at, *names, kind)])
    return scratch
