"""Messages: whether one is sent now, later or never, and when it is tried again. Who gets one is
decided with the alert; how it travels is delivery's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from daemon.domain.alert_record import Alert, Status
from daemon.domain.deliveries import Outcome
from daemon.domain.quiet_hours import QuietHours
from daemon.domain.rules import Level

FINAL_ATTEMPTS = 3
"""A refusal that will not change is tried so often: receivers are restarted, too."""
FALLBACK_ATTEMPTS = 5
"""Where another channel can take over, it does after so many."""
WAIT_MAX_S = 300.0
ALWAYS_TOLD = (Level.CRITICAL, Level.EMERGENCY)
"""Levels that quiet hours let pass, unless they say otherwise."""


class Kind(StrEnum):
    """What a message says."""

    FIRE = "fire"
    REPEAT = "repeat"
    CLOSE = "close"
    DIGEST = "digest"
    TEST = "test"


class State(StrEnum):
    """Where a message stands."""

    PENDING = "pending"
    DEFERRED = "deferred"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"


class Verdict(StrEnum):
    """Why it stands there (B1)."""

    SENT = "sent"
    FAILED = "failed"
    QUIET = "quiet"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"
    GROUPED = "grouped"
    UNKNOWN_CHANNEL = "unknown_channel"
    FALLBACK = "fallback"
    NOT_TOLD = "not_told"
    OVER = "over"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that is due; `now` is the present by the clock of the database."""

    notification_id: str
    ordinal: int
    alert_id: str | None
    watch_id: str | None
    rule_id: str | None
    device_id: str | None
    metric_name: str | None
    level: str | None
    channel: str
    kind: str
    verdict_data: Mapping[str, Any]
    replaces_id: str | None
    payload: dict[str, Any] | None
    attempts: int
    created_at: datetime
    now: datetime

    @property
    def may_be_told(self) -> bool:
        """Whether an attempt went out of which nobody knows if it arrived."""
        return bool(self.verdict_data.get("may_be_told"))

    @property
    def tried_since(self) -> datetime:
        """When it was decided, or somebody asked for it again."""
        again = self.verdict_data.get("retried_at")
        return datetime.fromisoformat(again) if again else self.created_at


@dataclass(frozen=True, slots=True)
class Firing:
    """What became of the message that told a recipient of the firing."""

    notification_id: str
    channel: str
    status: str
    verdict: str | None
    may_be_told: bool
    is_stand_in: bool
    fallback: str | None = None

    @property
    def is_told(self) -> bool:
        return self.status == State.SENT or self.may_be_told


@dataclass(frozen=True, slots=True)
class Hush:
    """The silence that holds a message back."""

    silence_id: str
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a decision depends on besides the message."""

    has_channel: bool
    alert: Alert | None = None
    quiet: QuietHours | None = None
    hush: Hush | None = None
    firing: Firing | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a message now. Without a verdict it is sent.

    stand_in  a channel that is told of the end, too, since it was told of the beginning
    """

    status: str = State.PENDING
    verdict: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None
    stand_in: str | None = None

    @property
    def is_sent(self) -> bool:
        return self.verdict is None


def decide(message: Message, facts: Facts) -> Decision:
    """Whether a message is sent now; asked at the moment of sending."""
    match message.kind:
        case Kind.DIGEST | Kind.TEST:
            return Decision() if facts.has_channel else _unknown(message)
        case Kind.CLOSE:
            return _decide_close(message, facts)
        case _:
            return _decide_fire(message, facts)


def _decide_fire(message: Message, facts: Facts) -> Decision:
    if not facts.has_channel:
        return _unknown(message)
    # Whoever may know of it already gets the rest of the story, too.
    if message.may_be_told:
        return Decision()
    if message.payload is None:
        if facts.alert is None:
            return Decision(State.DROPPED, Verdict.GONE)
        if facts.alert.acknowledged_by is not None:
            data = {"acknowledged_by": facts.alert.acknowledged_by}
            return Decision(State.DROPPED, Verdict.ACKNOWLEDGED, data)
    return _held_back(message, facts) or Decision()


def _decide_close(message: Message, facts: Facts) -> Decision:
    firing = facts.firing
    stand_in = firing.fallback if firing else None
    if firing is None or not firing.is_told:
        if stand_in is not None:
            data = {"fallback": stand_in}
            return Decision(State.DROPPED, Verdict.FALLBACK, data, stand_in=stand_in)
        return Decision(State.DROPPED, Verdict.NOT_TOLD)
    if not facts.has_channel:
        return _unknown(message)
    if not message.may_be_told and (until := _quiet_until(message, facts)):
        return Decision(State.DEFERRED, Verdict.QUIET, _until(until), until, stand_in)
    # A silence keeps alarms away, not the news that one is over.
    return Decision(stand_in=stand_in)


def decide_deferred(message: Message, facts: Facts) -> Decision:
    """What becomes of a deferred message when its time is over: GROUPED goes into the digest."""
    if message.kind == Kind.CLOSE:
        decision = _decide_close(message, facts)
        return Decision(State.DEFERRED, Verdict.GROUPED) if decision.is_sent else decision
    alert = facts.alert
    if message.payload is None:
        if alert is None:
            return Decision(State.DROPPED, Verdict.GONE)
        if alert.status == Status.RESOLVED:
            return Decision(State.DROPPED, Verdict.OVER)
        if alert.acknowledged_by is not None:
            data = {"acknowledged_by": alert.acknowledged_by}
            return Decision(State.DROPPED, Verdict.ACKNOWLEDGED, data)
    return _held_back(message, facts) or Decision(State.DEFERRED, Verdict.GROUPED)


def _held_back(message: Message, facts: Facts) -> Decision | None:
    """A rule's message waits; a watch's is dropped, since a stale "it is free" is worth nothing."""
    hush, until = facts.hush, _quiet_until(message, facts)
    if hush is not None:
        until, verdict = hush.ends_at, Verdict.SILENCED
        data = {"silence_id": hush.silence_id, **_until(hush.ends_at)}
    elif until is not None:
        verdict, data = Verdict.QUIET, _until(until)
    else:
        return None
    if message.watch_id is not None:
        return Decision(State.DROPPED, verdict, data)
    return Decision(State.DEFERRED, verdict, data, until)


def _quiet_until(message: Message, facts: Facts) -> datetime | None:
    quiet = facts.quiet
    if quiet is None or not quiet.is_quiet(message.now):
        return None
    if message.level in ALWAYS_TOLD and not quiet.include_critical:
        return None
    return quiet.ends_at(message.now)


def _until(until: datetime) -> dict[str, Any]:
    return {"until": until.isoformat()}


def _unknown(message: Message) -> Decision:
    return Decision(State.DEAD, Verdict.UNKNOWN_CHANNEL, {"channel": message.channel})


def wait_s(
    message: Message, outcome: Outcome, *, has_fallback: bool, give_up: timedelta, jitter: float
) -> float | None:
    """How long to wait for the next attempt, in seconds; None: it is given up.

    An end is owed to whoever was told of the beginning, and nobody else can be told in their
    place: it is tried as long as may be. `message.attempts` counts this one; `jitter` lies between
    0 and 1.
    """
    attempts = message.attempts
    if message.kind == Kind.TEST or message.now - message.tried_since > give_up:
        return None
    if message.kind != Kind.CLOSE and (
        _is_refused(outcome, attempts) or (has_fallback and attempts >= FALLBACK_ATTEMPTS)
    ):
        return None
    wait = min(WAIT_MAX_S, 2.0 ** min(attempts - 1, 16)) * (0.5 + jitter / 2)
    return max(wait, min(outcome.retry_after_s or 0.0, WAIT_MAX_S))


def _is_refused(outcome: Outcome, attempts: int) -> bool:
    return outcome.is_final and (outcome.status_code is None or attempts >= FINAL_ATTEMPTS)
