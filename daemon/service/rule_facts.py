"""What is known where a rule is to work: its metric, the devices it watches, channels, other rules.

Nothing of what its author may not see is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from daemon.domain.access import Principal
from daemon.domain.lint import Facts
from daemon.domain.rule_request import AlertRule
from daemon.live.head import Head
from daemon.live.registry import Registry
from daemon.store.rules import RuleStore

SAMPLED_SERIES_MAX = 64
"""The type of values and the gap between them are learned from no more series."""
HEAD_GAPS_MIN = 3
"""With fewer gaps in the head, the gap is asked of history."""


class RuleFacts:
    def __init__(self, store: RuleStore, *, registry: Registry, head: Head) -> None:
        self._store = store
        self._registry = registry
        self._head = head

    # -- whom a rule is about --------------------------------------------------------------------

    def targets(self, rule: AlertRule) -> frozenset[str] | None:
        """The devices that a rule names, those of its groups too; None: every one."""
        if not rule.has_targets:
            return None
        return self._registry.membership.members(self._groups(rule)) | set(rule.device_ids)

    def seen_targets(self, rule: AlertRule, *, by: Principal) -> frozenset[str] | None:
        """The devices that it would watch if there were nothing but what the key sees; None: every
        one."""
        if not by.sees_metric(rule.metric_name):
            return frozenset()
        if not by.is_bound:
            return self.targets(rule)
        membership = self._registry.membership
        visible = membership.visible_to(by) or frozenset()
        groups = [group_id for group_id in self._groups(rule) if group_id in visible]
        named = membership.members(groups) | set(rule.device_ids)
        known = named if rule.has_targets else self._registry.devices
        return frozenset(filter(by.sees_device, known))

    def is_visible(self, rule: AlertRule, *, by: Principal) -> bool:
        """Whether a key may know of the rule: it is about some device that the key sees, or about
        all."""
        if not by.sees_metric(rule.metric_name):
            return False
        if not by.is_bound or not rule.has_targets:
            return True
        visible = self._registry.membership.visible_to(by) or frozenset()
        return any(map(by.sees_device, rule.device_ids)) or not visible.isdisjoint(
            self._groups(rule)
        )

    def is_in_reach(self, rule: AlertRule, *, by: Principal) -> bool:
        """Whether the rule is about nothing but what the key sees, so that the key may change it.

        Groups have to be the key's own: any other may get members that it does not see.
        """
        if not by.sees_metric(rule.metric_name):
            return False
        if not by.is_bound:
            return True
        if not rule.has_targets or not all(map(by.sees_device, rule.device_ids)):
            return False
        if not rule.device_groups:
            return True
        own = frozenset[str]()
        if by.groups is not None:
            named = replace(by, devices=None)
            own = self._registry.membership.visible_to(named) or own
        found = [self._registry.membership.find(name) for name in rule.device_groups]
        return all(group_id in own for group_id in found)

    def as_seen(self, rule: AlertRule, *, by: Principal) -> AlertRule:
        """A visible rule without the names of devices and groups that the key does not see."""
        if not by.is_bound or not rule.has_targets:
            return rule
        membership = self._registry.membership
        visible = membership.visible_to(by) or frozenset()
        return replace(
            rule,
            device_ids=[name for name in rule.device_ids if by.sees_device(name)],
            device_groups=[n for n in rule.device_groups if membership.find(n) in visible],
        )

    def _groups(self, rule: AlertRule) -> list[str]:
        found = (self._registry.membership.find(name) for name in rule.device_groups)
        return [group_id for group_id in found if group_id is not None]

    # -- facts -----------------------------------------------------------------------------------

    async def gather(self, rule: AlertRule, *, by: Principal) -> Facts:
        """Everything that lint asks for, as if there were nothing but what the key sees."""
        name = rule.metric_name
        definition = self._registry.definitions.get(name) if by.sees_metric(name) else None
        series_ids = self._watched_series(rule, by)
        sampled = series_ids[:SAMPLED_SERIES_MAX]
        facts = Facts(
            is_defined=definition is not None,
            is_sent=bool(series_ids) or self._is_sent(name, by),
            data_type=self._data_type(sampled),
            devices=len(series_ids),
            strangers=self._strangers(rule, by),
            cadence_s=await self._cadence_s(sampled) if rule.evaluation_window else None,
            channels=await self._store.channels(rule.notification_channels),
            twins=await self._twins(rule, by),
        )
        if definition is None:
            return facts
        allowed = definition.allowed_values
        return replace(
            facts,
            data_type=definition.kind.data_type,
            min_value=definition.min_value,
            max_value=definition.max_value,
            allowed_values=None if allowed is None else list(allowed),
        )

    def _watched_series(self, rule: AlertRule, by: Principal) -> list[int]:
        """One series for each device that the rule watches now."""
        targets = self.seen_targets(rule, by=by)
        return self._registry.select(devices=targets, metrics=[rule.metric_name])

    def _is_sent(self, metric_name: str, by: Principal) -> bool:
        return by.sees_metric(metric_name) and any(
            metric_name in metrics and by.sees_device(device_id)
            for device_id, metrics in self._registry.devices.items()
        )

    def _strangers(self, rule: AlertRule, by: Principal) -> list[str]:
        """Named devices that never sent the metric, and groups that there are not."""
        membership, name = self._registry.membership, rule.metric_name
        visible = membership.visible_to(by)
        strangers = [
            device_id
            for device_id in rule.device_ids
            if not (by.sees_device(device_id) and by.sees_metric(name))
            or self._registry.find(device_id, name) is None
        ]
        groups = {group: membership.find(group) for group in rule.device_groups}
        return strangers + [
            group
            for group, group_id in groups.items()
            if group_id is None or (visible is not None and group_id not in visible)
        ]

    def _data_type(self, series_ids: Sequence[int]) -> str | None:
        """What is sent; None without series, or when they differ."""
        kinds = {self._registry.kind_of(series_id) for series_id in series_ids}
        return kinds.pop().data_type if len(kinds) == 1 else None

    async def _cadence_s(self, series_ids: Sequence[int]) -> float | None:
        """The median gap between samples; None while it is unknown."""
        if not series_ids:
            return None
        block = self._head.read(np.array(series_ids, np.int32), start_us=0, end_us=2**62)
        gaps = []
        for series_id in series_ids:
            gaps.append(np.diff(np.unique(block.times_us[block.series_ids == series_id])))
        found = np.concatenate(gaps)
        if len(found) >= HEAD_GAPS_MIN:
            return float(np.median(found)) / 1e6
        return await self._store.cadence_s(series_ids)

    async def _twins(self, rule: AlertRule, by: Principal) -> list[str]:
        """Names of rules that decide the same for some of the same devices."""
        own = self.seen_targets(rule, by=by)
        found = []
        for twin in await self._store.twins(rule):
            other = replace(rule, device_ids=twin.device_ids, device_groups=twin.device_groups)
            theirs = self.targets(other)
            is_apart = own is not None and theirs is not None and not own & theirs
            if not is_apart and self.is_visible(other, by=by):
                found.append(twin.name)
        return found
