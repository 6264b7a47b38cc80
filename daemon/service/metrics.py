"""Metric definitions: making, finding, changing and removing them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.errors import Conflict, Forbidden, NotFound, TryLater
from daemon.domain.ids import new_id
from daemon.domain.metrics import Metric, changed, check
from daemon.domain.patterns import as_like
from daemon.log import get_logger
from daemon.store.metrics import MetricFilter, MetricStore

Reload = Callable[[], Awaitable[None]]

log = get_logger()


@dataclass(frozen=True, slots=True)
class Created:
    """A new definition.

    `retention_note` says that an earlier definition's retention was taken over.
    """

    metric: Metric
    retention_note: str | None


class Metrics:
    """What a key may not see does not exist for it.

    A definition holds for every device, so a key that is bound to devices or groups changes none:
    a bound or a retention of its own would refuse, or remove, the points of others.
    """

    def __init__(self, store: MetricStore, *, clock: Clock, registry_reload: Reload) -> None:
        self._store = store
        self._clock = clock
        self._registry_reload = registry_reload

    async def create(self, fields: Mapping[str, Any], *, by: Principal) -> Created:
        """Make a definition; absent `retention_days` takes over what an earlier one left.

        Raises Conflict `name_taken`, Invalid when the fields contradict each other, Forbidden
        outside the key's patterns.
        """
        if not by.sees_metric(fields["name"]):
            raise Forbidden("the key's patterns do not reach this metric", code="outside_patterns")
        _refuse_bound(by)
        now_us = self._clock.now_us()
        metric = self._new(fields, by=by)
        check(metric)
        stored = await self._store.insert(
            metric,
            keep_retention="retention_days" not in fields,
            tell=lambda metric: tellings.metric_defined(metric, by=by.key_id, now_us=now_us),
        )
        if stored is None:
            raise Conflict(f"there is a metric {metric.name} already", code="name_taken")
        created, kept_days = stored
        await self._reload()
        log.info("metric_created", metric_name=created.name, by=by.key_id)
        note = (
            None
            if kept_days is None
            else f"points are kept for {kept_days} days, as an earlier definition said"
        )
        return Created(created, note)

    def _new(self, fields: Mapping[str, Any], *, by: Principal) -> Metric:
        now = as_datetime(self._clock.now_us())
        blank = Metric(
            metric_id=new_id("met", now_us=self._clock.now_us()),
            name=fields["name"],
            description=None,
            data_type=fields["data_type"],
            metric_type="gauge",
            unit=None,
            min_value=None,
            max_value=None,
            allowed_values=None,
            retention_days=90,
            aggregation_interval=None,
            tags=[],
            metadata={},
            created_at=now,
            updated_at=now,
            created_by=by.key_id,
        )
        return replace(blank, **fields)

    async def page(
        self, wanted: MetricFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[Metric], int]:
        """A page by name of what the key may see, and how many there are."""
        visible = replace(wanted, likes=as_like(by.metrics))
        return await self._store.page(visible, limit=limit, offset=offset)

    async def show(self, name: str, *, by: Principal) -> Metric:
        """Raises NotFound."""
        metric = await self._store.find(name) if by.sees_metric(name) else None
        if metric is None:
            raise _unknown(name)
        return metric

    async def change(self, name: str, changes: Mapping[str, Any], *, by: Principal) -> Metric:
        """Change the given fields.

        Raises NotFound, Invalid, Conflict `has_data` for the type of stored data, and Forbidden for
        a bound key.
        """
        await self._check_change(name, by)
        metric = await self._store.change(
            name,
            lambda metric, has_data: changed(metric, changes, has_data=has_data),
            tell=lambda metric: tellings.metric_updated(
                metric, sorted(changes), by=by.key_id, now_us=self._clock.now_us()
            ),
        )
        if metric is None:
            raise _unknown(name)
        await self._reload()
        log.info("metric_changed", metric_name=name, by=by.key_id, fields=sorted(changes))
        return metric

    async def delete(self, name: str, *, by: Principal) -> int:
        """Remove the definition; points stay, and are kept for the returned days.

        Raises NotFound, and Forbidden for a bound key.
        """
        await self._check_change(name, by)
        days = await self._store.delete(
            name,
            tell=lambda days: tellings.metric_deleted(
                name, days, by=by.key_id, now_us=self._clock.now_us()
            ),
        )
        if days is None:
            raise _unknown(name)
        await self._reload()
        log.info("metric_deleted", metric_name=name, by=by.key_id)
        return days

    async def _check_change(self, name: str, by: Principal) -> None:
        if not by.sees_metric(name):
            raise _unknown(name)
        if by.is_bound:
            await self.show(name, by=by)
        _refuse_bound(by)

    async def _reload(self) -> None:
        """Take the change over at once. It is committed.

        When this fails, the next append finds the catalogue stale.
        """
        try:
            await self._registry_reload()
        except TryLater as error:
            log.warning("catalog_not_reloaded", code=error.error_code)


def _refuse_bound(by: Principal) -> None:
    if by.is_bound:
        raise Forbidden(
            "a key that is bound to devices or groups can't change definitions",
            code="outside_patterns",
        )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no metric {name}", code="unknown_metric")
