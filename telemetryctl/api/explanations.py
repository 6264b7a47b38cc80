"""Why an alert came, who was told, and why a rule fires or not."""

from typing import Any

from pydantic import ConfigDict

from telemetryctl.api.alerts import Alert
from telemetryctl.api.model import Answer, Instant


class Step(Answer):
    """One change of an alert, with what decided it."""

    at: Instant
    event_time: Instant | None
    to: str
    reason: str
    inputs: dict[str, Any]
    by: str | None


class Verdict(Answer):
    """What became of a message, and why; `data` says until when, by which silence and the like."""

    notification_id: str
    kind: str
    status: str
    verdict: str | None
    data: dict[str, Any]
    attempts: int
    created_at: Instant
    sent_at: Instant | None


class ChannelVerdicts(Answer):
    """The messages of an alert to one channel."""

    channel: str
    messages: list[Verdict]


class AlertExplanation(Answer):
    """Every change of an alert, and every message about it."""

    alert: Alert
    summary: str
    steps: list[Step]
    channels: list[ChannelVerdicts]


class Cause(Answer):
    """One thing that keeps a rule from firing; `until` where time ends it."""

    code: str
    detail: str
    until: Instant | None


class RuleExplanation(Answer):
    """Why a rule fires or not: beside these, the numbers that its kind is decided by."""

    model_config = ConfigDict(extra="allow")

    rule_id: str
    rule_name: str
    revision: int
    device_id: str
    metric_name: str
    at: Instant
    fires: bool
    is_open: bool
    summary: str
    causes: list[Cause]
    suppressed_by: list[dict[str, Any]]
    alert_id: str | None
    late_samples: dict[str, Any] | None
    samples: list[dict[str, Any]]
