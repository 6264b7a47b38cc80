"""Alerts: finding them, and what people do about them. They come and go in service/evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.alert_record import Alert, Ended, Status
from daemon.domain.errors import Conflict, NotFound, TryLater
from daemon.domain.patterns import as_like
from daemon.domain.rules import Level
from daemon.log import get_logger
from daemon.store.alerts import Act, AlertFilter, AlertStore, Counts
from daemon.store.rules import RuleStore

COUNT_EVERY_S = 2.0
"""Figures of health are as old as this."""

log = get_logger()


class Alerts:
    """What a key may not see does not exist for it: alerts of other devices and metrics, and for a
    key that is bound to devices those of groups and of all that is taken in."""

    def __init__(self, store: AlertStore, rules: RuleStore, *, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._figures: dict[str, int] = {}
        self.by_level: dict[tuple[str, str], int] = {}
        """Open alerts by level and status, as of the last count."""

    async def page(
        self, wanted: AlertFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[Alert], Counts]:
        """A page of what the key may see, the newest first, and how many there are."""
        visible = replace(
            wanted,
            metric_likes=as_like(by.metrics),
            device_likes=as_like(by.devices),
            seen_ids=None if by.groups is None else list(by.member_ids),
        )
        return await self._store.page(visible, limit=limit, offset=offset)

    async def show(self, alert_id: str, *, by: Principal) -> Alert:
        """Raises NotFound."""
        alert = await self._store.find(alert_id)
        if alert is None or not _sees(by, alert):
            raise NotFound(f"there is no alert {alert_id}", code="unknown_alert")
        return alert

    async def acknowledge(self, alert_id: str, *, note: str | None, by: Principal) -> Alert:
        """Say that somebody looks at it; again changes nothing, the first stays.

        Raises NotFound, and Conflict `already_resolved`.
        """
        await self.show(alert_id, by=by)
        now_us = self._clock.now_us()
        act = Act(by.key_id, as_datetime(now_us), Ended.BY_HAND, note)
        alert = await self._store.acknowledge(
            alert_id,
            act,
            tell=lambda alert: tellings.alert_acknowledged(alert, by=by.key_id, now_us=now_us),
        )
        if alert is None:
            return _still_open(await self.show(alert_id, by=by))
        log.info("alert_acknowledged", alert_id=alert_id, by=by.key_id)
        return alert

    async def resolve(self, alert_id: str, *, note: str | None, by: Principal) -> Alert:
        """End it by hand. Raises NotFound, and Conflict `already_resolved`."""
        await self.show(alert_id, by=by)
        now_us = self._clock.now_us()
        act = Act(by.key_id, as_datetime(now_us), Ended.BY_HAND, note)
        alert = await self._store.resolve(
            alert_id,
            act,
            tell=lambda alert: tellings.alert_resolved(alert, by=by.key_id, now_us=now_us),
        )
        if alert is None:
            return _still_open(await self.show(alert_id, by=by))
        log.info("alert_resolved", alert_id=alert_id, by=by.key_id)
        return alert

    # -- figures ---------------------------------------------------------------------------------

    async def count(self) -> None:
        """One background turn: what `numbers` gives from then on."""
        try:
            rules, (alerts, stale) = await self._rules.count(), await self._store.count_open()
        except TryLater:
            # Health says already that the database is away; the numbers stay the last known.
            return
        self._figures = {
            "rules": rules["rules"],
            "rules_enabled": rules["enabled"],
            "rules_shadow": rules["shadow"],
            "alerts_active": _sum(alerts, status=Status.ACTIVE),
            "alerts_acknowledged": _sum(alerts, status=Status.ACKNOWLEDGED),
            "alerts_critical": _sum(alerts, levels=(Level.CRITICAL, Level.EMERGENCY)),
            "alerts_stale": stale,
        }
        self.by_level = alerts

    def numbers(self) -> dict[str, int]:
        """Rules, and open alerts that are not shadows; empty before the first count."""
        return self._figures


def _sum(
    counted: Mapping[tuple[str, str], int],
    *,
    status: str | None = None,
    levels: Sequence[str] = tuple(Level),
) -> int:
    return sum(
        count
        for (level, found), count in counted.items()
        if level in levels and status in (None, found)
    )


def _sees(by: Principal, alert: Alert) -> bool:
    if not by.sees_metric(alert.metric_name):
        return False
    return not by.is_bound if alert.device_id is None else by.sees_device(alert.device_id)


def _still_open(alert: Alert) -> Alert:
    if alert.status == Status.RESOLVED:
        raise Conflict(f"{alert.alert_id} is resolved already", code="already_resolved")
    return alert
