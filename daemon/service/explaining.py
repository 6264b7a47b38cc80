"""Why an alert came, who was told, and why a rule fires or not: gathered on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from daemon.clock import Clock, as_datetime, as_us
from daemon.domain import alert_record
from daemon.domain.access import Principal
from daemon.domain.alert_record import Alert
from daemon.domain.alerts import GAPS_MAX, OpenAlert, Sample
from daemon.domain.errors import NotFound
from daemon.domain.explanation import Asked, Cause, Explanation, explain_rule, summary_of
from daemon.domain.kinds import Kind
from daemon.domain.notifications import ALWAYS_TOLD
from daemon.domain.quiet_hours import quiet_hours_of
from daemon.domain.rule_request import AlertRule, engine_rule
from daemon.domain.rules import Rule, RuleKind
from daemon.domain.samples import samples_of
from daemon.domain.silences import fits
from daemon.live.latest import Latest
from daemon.service.alerts import Alerts
from daemon.service.history import History
from daemon.service.ledger import Ledger
from daemon.service.rule_facts import RuleFacts
from daemon.service.rules import Rules
from daemon.store.explanations import ExplanationStore
from daemon.store.ledger import Entry
from daemon.store.silences import SilenceStore

LOOK_BACK_US = 7 * 86_400_000_000
"""How far back samples before the window are looked for."""


@dataclass(frozen=True, slots=True)
class Explaining:
    """A key is explained only what it may see."""

    store: ExplanationStore
    silences: SilenceStore
    alerts: Alerts
    rules: Rules
    facts: RuleFacts
    ledger: Ledger
    history: History
    latest: Latest
    clock: Clock

    # -- alerts ----------------------------------------------------------------------------------

    async def alert(self, alert_id: str, *, by: Principal) -> dict[str, Any]:
        """Every change of an alert with what decided it, and what became of each message.

        Raises NotFound.
        """
        alert = await self.alerts.show(alert_id, by=by)
        steps = await self.store.steps(alert_id)
        messages = await self.ledger.of_alert(alert)
        channels: dict[str, list[Entry]] = {}
        for entry in messages:
            channels.setdefault(entry.channel, []).append(entry)
        return {
            "alert": alert_record.shown(alert),
            "summary": _summary(alert, messages),
            "steps": [asdict(step) for step in steps],
            "channels": [
                {"channel": name, "messages": [_verdict(entry) for entry in entries]}
                for name, entries in channels.items()
            ],
        }

    # -- rules -----------------------------------------------------------------------------------

    async def rule(
        self, rule_id: str, *, device_id: str, at_us: int | None, by: Principal
    ) -> dict[str, Any]:
        """Why a rule fires or not on a device, now or then. Raises NotFound."""
        rule = await self.rules.show(rule_id, by=by)
        if not by.sees_device(device_id) or device_id not in self.history.registry.devices:
            raise NotFound(f"there is no device {device_id}", code="unknown_device")
        now_us = self.clock.now_us()
        at_us = now_us if at_us is None else at_us
        found, more = await self._explained(rule, device_id, at_us)
        stopping = _stopping(rule, device_id, self.facts.targets(rule))
        found.causes[:0] = stopping
        return {
            "rule_id": rule.rule_id,
            "rule_name": rule.name,
            "revision": rule.revision,
            "device_id": device_id,
            "metric_name": rule.metric_name,
            "at": as_datetime(at_us),
            "fires": not found.causes,
            "is_open": any(cause.code == "open_already" for cause in found.causes),
            "summary": summary_of(found),
            "causes": [asdict(cause) for cause in found.causes],
            "suppressed_by": await self._suppressed(rule, device_id, as_datetime(at_us)),
            **found.figures,
            **more,
            "samples": found.samples,
        }

    async def _explained(
        self, rule: AlertRule, device_id: str, at_us: int
    ) -> tuple[Explanation, dict[str, Any]]:
        series_id = self.history.registry.find(device_id, rule.metric_name)
        if series_id is None:
            found = Explanation()
            found.add("never_sent", f"{device_id} never sent {rule.metric_name}")
            return found, {"alert_id": None, "late_samples": None}
        engine = engine_rule(rule)
        last = await self.store.last_alert(rule.rule_id, device_id=device_id, at=as_datetime(at_us))
        opened = None
        if last is not None and (last.ended_at is None or as_us(last.ended_at) > at_us):
            breach_us = min(at_us, as_us(last.last_breach))
            opened = OpenAlert(as_us(last.event_time), breach_us, by_silence=last.by_silence)
        late = await self.store.late(rule.rule_id, device_id=device_id)
        found = explain_rule(
            Asked(
                rule=engine,
                at_us=at_us,
                samples=await self._samples(engine, series_id, at_us),
                opened=opened,
                last_fired_us=None if last is None else as_us(last.event_time),
                late=0 if late is None else late.samples,
            )
        )
        await self._add_arrival(found, series_id)
        await self._add_wide(found, rule.rule_id, device_id, at_us)
        alert_id = last.alert_id if last is not None and opened is not None else None
        return found, {
            "alert_id": alert_id,
            "late_samples": None if late is None else asdict(late),
        }

    async def _samples(self, rule: Rule, series_id: int, at_us: int) -> list[Sample]:
        """As far back as the rule looks, and the newest of those before."""
        memory_us = 0 if rule.kind is not RuleKind.THRESHOLD else rule.memory_us
        found = await self._read(series_id, at_us - memory_us, at_us)
        before = {RuleKind.ABSENCE: GAPS_MAX + 1, RuleKind.TRANSITION: 2}.get(rule.kind, 0)
        if not found or before or rule.memory_before:
            from_us = at_us - memory_us - LOOK_BACK_US
            kept = max(before, rule.memory_before + 1) + len(found)
            found = (await self._read(series_id, from_us, at_us))[-kept:]
        return found

    async def _read(self, series_id: int, from_us: int, to_us: int) -> list[Sample]:
        ids = np.array([series_id], np.int32)
        snapshot = await self.history.snapshot(ids, start_us=from_us, end_us=to_us + 1)
        block = await snapshot.points()
        is_boolean = bool(self.history.registry.kinds[series_id] == Kind.BOOLEAN)
        return list(samples_of(block, is_boolean=is_boolean))

    async def _add_wide(self, found: Explanation, rule_id: str, device_id: str, at_us: int) -> None:
        """Alerts that stand for a silence of more than this device."""
        for alert_id, scope, group_id in await self.store.wide_open(rule_id, at=as_datetime(at_us)):
            if group_id is None or self._is_in_group(group_id, device_id):
                what = "all that is taken in" if scope == "ingest" else group_id or "all devices"
                found.add("explained", f"the alert {alert_id} of {what} stands for it")

    async def _add_arrival(self, found: Explanation, series_id: int) -> None:
        """When the newest sample arrived, while the journal has it."""
        newest, point = found.figures.get("newest"), self.latest.get(series_id)
        if newest is None or point is None or as_datetime(point.time_us) != newest["timestamp"]:
            return
        arrived_at = await self.store.appended_at(point.seq)
        newest["arrived_at"] = arrived_at
        if found.samples:
            found.samples[-1]["arrived_at"] = arrived_at

    async def _suppressed(
        self, rule: AlertRule, device_id: str, at: datetime
    ) -> list[dict[str, Any]]:
        """What would keep a firing from being told at this time, and until when."""
        found: list[dict[str, Any]] = []
        if rule.shadow:
            found.append({"kind": "shadow", "until": None})
        if rule.quiet_hours is not None:
            quiet = quiet_hours_of(rule.quiet_hours)
            passes = rule.level in ALWAYS_TOLD and not quiet.include_critical
            if quiet.is_quiet(at) and not passes:
                found.append({"kind": "quiet_hours", "until": quiet.ends_at(at)})
        about = {
            "device_id": device_id,
            "rule_id": rule.rule_id,
            "rule_name": rule.name,
            "metric_name": rule.metric_name,
            "level": rule.level,
        }
        for silence in await self.silences.active(at):
            if fits(silence, about, in_group=self._is_in_group):
                found.append(
                    {
                        "kind": "silence",
                        "silence_id": silence.silence_id,
                        "until": silence.ends_at,
                    }
                )
        if not rule.notification_channels:
            found.append({"kind": "no_channel", "until": None})
        return found

    def _is_in_group(self, group: str, device_id: str) -> bool:
        membership = self.history.registry.membership
        group_id = membership.find(group)
        return group_id is not None and device_id in membership.devices_of(group_id)


def _stopping(rule: AlertRule, device_id: str, targets: frozenset[str] | None) -> list[Cause]:
    found = []
    if not rule.enabled:
        found.append(Cause("rule_disabled", "the rule is disabled"))
    if targets is not None and device_id not in targets:
        found.append(Cause("not_watched", f"the rule does not watch {device_id}"))
    return found


def _summary(alert: Alert, messages: list[Entry]) -> str:
    told = [entry.channel for entry in messages if entry.kind == "fire" and entry.status == "sent"]
    words = f"told {', '.join(told)}" if told else "told no one"
    return f"{alert.message}; {words}"


def _verdict(entry: Entry) -> Mapping[str, Any]:
    """The message without what the alert says."""
    return {
        "notification_id": entry.notification_id,
        "kind": entry.kind,
        "status": entry.status,
        "verdict": entry.verdict,
        "data": entry.verdict_data,
        "attempts": entry.attempts,
        "created_at": entry.created_at,
        "sent_at": entry.sent_at,
    }
