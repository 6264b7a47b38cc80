"""Sends what is due: decides each message at the moment of sending, gathers digests, and writes
down what became of it. When it does is decided in workers/notifier; how, in delivery."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from daemon import faults
from daemon.clock import Clock, as_datetime
from daemon.domain import message_texts
from daemon.domain.alert_record import Alert
from daemon.domain.channels import Channel
from daemon.domain.cloud_events import source_of
from daemon.domain.deliveries import Address, Outcome, Outgoing
from daemon.domain.errors import DomainError, TryLater
from daemon.domain.ids import new_id
from daemon.domain.notifications import (
    Decision,
    Facts,
    Firing,
    Hush,
    Kind,
    Message,
    State,
    Verdict,
    decide,
    decide_deferred,
    wait_s,
)
from daemon.domain.quiet_hours import QuietHours, quiet_hours_of
from daemon.domain.silences import Silence, fits
from daemon.live.groups import Membership
from daemon.live.registry import Registry
from daemon.log import get_logger
from daemon.service.secret_box import SecretBox
from daemon.store.channels import ChannelStore
from daemon.store.notifications import NotificationStore, Taking
from daemon.store.silences import SilenceStore
from daemon.tracing import links_now

LATENCIES_KEPT = 1_000
RECORDING_MAX = 2
RECORD_PAUSES_S = (0.5, 2.0)
Deliver = Callable[[Outgoing, Address], Awaitable[Outcome]]

log = get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What decisions about some messages depend on, read at once."""

    channels: Mapping[str, Channel]
    alerts: Mapping[str, Alert]
    quiet: Mapping[str, QuietHours]
    silences: Sequence[Silence]
    firings: Mapping[tuple[str, str], Sequence[Firing]]
    devices: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """A message that is to be sent, and to where; `attempts` counts this one."""

    message: Message
    outgoing: Outgoing
    channel: Channel


@dataclass(slots=True)
class Figures:
    """What this process has sent (R-065)."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    held_back: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    waiting: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stores:
    """What the notifier reads and writes."""

    notifications: NotificationStore
    channels: ChannelStore
    silences: SilenceStore


class Notifying:
    """The notifier of this process; every process has one."""

    def __init__(
        self,
        stores: Stores,
        *,
        registry: Registry,
        box: SecretBox,
        deliver: Deliver,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._registry = registry
        self._box = box
        self._deliver = deliver
        self._clock = clock
        self._recording = asyncio.Semaphore(RECORDING_MAX)
        self.give_up = timedelta(hours=24)
        self.figures = Figures()

    @property
    def _source(self) -> str:
        return source_of(self._registry.epoch)

    @property
    def _membership(self) -> Membership:
        return self._registry.membership

    # -- what is due -----------------------------------------------------------------------------

    async def take(self, taking: Taking) -> tuple[list[Job], int]:
        """Claim what is due, write down what is not sent, and return the rest, begun, and how
        many were claimed.

        Raises TryLater; what was claimed is then taken again after its time.
        """
        messages = await self._stores.notifications.claim(taking)
        if not messages:
            return [], 0
        known = await self._read(messages)
        decisions = {m.notification_id: decide(m, self._facts(m, known)) for m in messages}
        await self._hold_back(messages, decisions)
        sending = [m for m in messages if decisions[m.notification_id].is_sent]
        numbers = await self._stores.notifications.begin([m.notification_id for m in sending])
        jobs = [
            self._job(replace(message, attempts=numbers[message.notification_id]), known)
            for message in sending
            if message.notification_id in numbers
        ]
        return jobs, len(messages)

    async def _hold_back(
        self, messages: Sequence[Message], decisions: Mapping[str, Decision]
    ) -> None:
        for message in messages:
            stand_in = decisions[message.notification_id].stand_in
            # Before the verdict is written: once it is, nobody looks at the message again.
            if stand_in is not None:
                await self._stores.notifications.stand_in(message.notification_id, channel=stand_in)
        held = {i: decision for i, decision in decisions.items() if not decision.is_sent}
        if held:
            await self._stores.notifications.decide(_rows(held))
            self.figures.held_back.update(str(decision.verdict) for decision in held.values())

    async def _read(self, messages: Sequence[Message]) -> Known:
        stores, store = self._stores, self._stores.notifications
        alert_ids = _once(m.alert_id for m in messages)
        closing = _once(m.alert_id for m in messages if m.kind == Kind.CLOSE)
        quiet = await store.quiet_hours(
            _once(m.rule_id for m in messages), _once(m.watch_id for m in messages)
        )
        return Known(
            channels=await stores.channels.find(_once(m.channel for m in messages)),
            alerts=await store.alerts(alert_ids) if alert_ids else {},
            quiet={one: quiet_hours_of(said) for one, said in quiet.items()},
            silences=await stores.silences.active(store.now),
            firings=await store.firings(closing) if closing else {},
            devices=await store.devices(_once(m.device_id for m in messages)),
        )

    def _facts(self, message: Message, known: Known) -> Facts:
        alert = known.alerts.get(message.alert_id or "")
        firings = known.firings.get((message.alert_id or "", message.channel), ())
        is_stand_in = message.replaces_id is not None
        return Facts(
            has_channel=message.channel in known.channels,
            alert=alert,
            quiet=known.quiet.get(message.watch_id or message.rule_id or ""),
            hush=self._hush(message, alert, known.silences),
            firing=next((f for f in firings if f.is_stand_in is is_stand_in), None),
        )

    def _hush(
        self, message: Message, alert: Alert | None, silences: Sequence[Silence]
    ) -> Hush | None:
        about = {
            "device_id": message.device_id,
            "rule_id": message.rule_id,
            "rule_name": alert.rule_name if alert else None,
            "metric_name": message.metric_name,
            "level": message.level,
            "group_id": alert.group_id if alert else None,
        }
        for silence in silences:
            if fits(silence, about, in_group=self._is_in_group):
                return Hush(silence.silence_id, silence.ends_at)
        return None

    def _is_in_group(self, group: str, device_id: str) -> bool:
        found = self._membership.find(group)
        return found is not None and device_id in self._membership.devices_of(found)

    # -- sending ---------------------------------------------------------------------------------

    def _job(self, message: Message, known: Known) -> Job:
        return Job(message, self._outgoing(message, known), known.channels[message.channel])

    def _outgoing(self, message: Message, known: Known) -> Outgoing:
        if message.kind == Kind.DIGEST:
            return message_texts.digest_of(message, source=self._source)
        alert = known.alerts.get(message.alert_id or "")
        if alert is None or message.payload is not None:
            return message_texts.plain_of(message, source=self._source)
        return message_texts.message_about(
            message,
            message_texts.as_told(alert, kind=message.kind),
            device=known.devices.get(message.device_id or ""),
            source=self._source,
        )

    async def send(self, job: Job) -> Outcome:
        """One attempt, written down whatever comes of it. Raises TryLater when that fails; the
        message is then sent again, with the same id."""
        began_s = self._clock.monotonic_s()
        outcome = await self._attempt(job)
        latency_ms = (self._clock.monotonic_s() - began_s) * 1000
        faults.point(faults.Point.NOTIFICATION_BEFORE_RECORD)
        state = await self._record(job, outcome, latency_ms)
        self._note(job, outcome, state, latency_ms)
        return outcome

    async def _record(self, job: Job, outcome: Outcome, latency_ms: float) -> str | None:
        """Write it down; tried again, since what is not written down is sent again."""
        message, channel = job.message, job.channel
        can_fall_back = channel.fallback is not None and message.replaces_id is None
        wait = wait_s(
            message,
            outcome,
            has_fallback=can_fall_back,
            give_up=self.give_up,
            jitter=random.random(),
        )
        for pause_s in (*RECORD_PAUSES_S, None):
            try:
                # Few at a time: the connections are shared with everything else.
                async with self._recording:
                    return await self._stores.notifications.finish(
                        message,
                        outcome,
                        latency_ms=latency_ms,
                        wait_s=wait,
                        fallback=channel.fallback if can_fall_back else None,
                    )
            except TryLater:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def _note(self, job: Job, outcome: Outcome, state: str | None, latency_ms: float) -> None:
        figures = self.figures
        figures.latencies_ms.append(latency_ms)
        if outcome.is_sent:
            figures.sent += 1
            figures.by_kind[job.channel.kind, "sent"] += 1
            return
        figures.failed += 1
        figures.by_kind[job.channel.kind, "failed"] += 1
        if state == State.DEAD:
            figures.given_up += 1
            figures.by_kind[job.channel.kind, "given_up"] += 1
            log.warning(
                "notification_given_up",
                notification_id=job.message.notification_id,
                channel=job.channel.name,
                reason=outcome.detail,
            )

    async def test(
        self, channel: Channel, *, notification_id: str, payload: dict[str, Any]
    ) -> Outcome:
        """One attempt now, in the ledger like every other."""
        store = self._stores.notifications
        await store.insert_test(notification_id, channel=channel.name, payload=payload)
        numbers = await store.begin([notification_id])
        now = as_datetime(self._clock.now_us())
        message = Message(
            notification_id=notification_id,
            ordinal=0,
            alert_id=None,
            watch_id=None,
            rule_id=None,
            device_id=None,
            metric_name=None,
            level=message_texts.worst([]),
            channel=channel.name,
            kind=Kind.TEST,
            verdict_data={"cause": links_now()},
            replaces_id=None,
            payload=payload,
            attempts=numbers.get(notification_id, 1),
            created_at=now,
            now=now,
        )
        outgoing = message_texts.plain_of(message, source=self._source)
        return await self.send(Job(message, outgoing, channel))

    async def _attempt(self, job: Job) -> Outcome:
        channel = job.channel
        try:
            secrets = self._box.open(channel.secrets, about=channel.channel_id)
            address = Address(channel.name, channel.kind, channel.settings, secrets)
            return await self._deliver(job.outgoing, address)
        except DomainError as error:
            return Outcome(is_sent=False, detail=error.detail)
        except Exception:
            log.error("delivery_failed", channel=channel.name, kind=channel.kind, exc_info=True)
            return Outcome(is_sent=False, detail="the daemon failed; its log says why")

    # -- digests ---------------------------------------------------------------------------------

    async def gather(self) -> bool:
        """Make the digest of one channel whose deferred messages are due; False: there is none."""
        async with self._stores.notifications.gathering() as gathering:
            messages = gathering.messages
            if gathering.channel is None or not messages:
                return False
            known = await self._read(messages)
            decisions = {
                m.notification_id: decide_deferred(m, self._facts(m, known)) for m in messages
            }
            digest_id = new_id("ntf", now_us=self._clock.now_us())
            grouped = [
                m for m in messages if decisions[m.notification_id].verdict == Verdict.GROUPED
            ]
            await gathering.settle(_rows(decisions), digest_id=digest_id)
            if grouped:
                alerts = _told_alerts(grouped, known)
                level = message_texts.worst([m.level or "info" for m in grouped])
                payload = message_texts.digest_payload(alerts, now=messages[0].now)
                await gathering.insert_digest(digest_id, level=level, payload=payload)
            return True

    # -- figures ---------------------------------------------------------------------------------

    async def count(self) -> None:
        """One background turn of the figures that the database knows."""
        try:
            self.figures.waiting = await self._stores.notifications.waiting()
        except DomainError:
            # Health says already that the database is away; the numbers stay the last known.
            return

    def numbers(self) -> dict[str, Any]:
        """For the detailed health: what this process sent, and what waits in all."""
        figures = self.figures
        latencies = sorted(figures.latencies_ms)
        average = sum(latencies) / len(latencies) if latencies else 0.0
        return {
            "notifications_sent": figures.sent,
            "notifications_failed": figures.failed,
            "notifications_given_up": figures.given_up,
            "notifications_held_back": dict(figures.held_back),
            "notifications_pending": figures.waiting.get("pending", 0),
            "notifications_deferred": figures.waiting.get("deferred", 0),
            "delivery_latency_ms_avg": round(average, 3),
            "delivery_latency_ms_p95": round(latencies[len(latencies) * 95 // 100], 3)
            if latencies
            else 0.0,
        }


def _told_alerts(messages: Sequence[Message], known: Known) -> list[dict[str, Any]]:
    found = []
    for message in messages:
        alert = known.alerts.get(message.alert_id or "")
        if alert is not None:
            found.append(message_texts.as_told(alert, kind=message.kind))
    return found


def _rows(decisions: Mapping[str, Decision]) -> list[dict[str, Any]]:
    return [
        {
            "notification_id": notification_id,
            "status": decision.status,
            "verdict": decision.verdict,
            "verdict_data": dict(decision.data),
            "next_attempt_at": decision.until,
        }
        for notification_id, decision in decisions.items()
    ]


def _once(values: Any) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))
