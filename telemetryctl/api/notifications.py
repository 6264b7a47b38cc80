"""Messages about alerts: who was told what, who was not, and why."""

from typing import Any

from telemetryctl.api.model import Answer, Instant


class Attempt(Answer):
    """One attempt to send; `outcome` is sent, failed, or unknown when no answer came."""

    attempt: int
    at: Instant
    latency_ms: float | None
    outcome: str
    status_code: int | None
    response_digest: str | None
    detail: str | None


class Notification(Answer):
    """A message and what became of it.

    `status` is pending, deferred, sent, dead (given up) or dropped; `verdict` says why, and
    `reason` until when, by which silence and the like. `idempotency_key` is what receivers get.
    """

    notification_id: str
    idempotency_key: str
    alert_id: str | None
    watch_id: str | None
    rule_id: str | None
    device_id: str | None
    metric_name: str | None
    level: str | None
    channel: str
    kind: str
    status: str
    verdict: str | None
    reason: dict[str, Any]
    digest_id: str | None
    replaces_id: str | None
    attempts: int
    next_attempt_at: Instant | None
    last_status: int | None
    last_error: str | None
    created_at: Instant
    sent_at: Instant | None
    ledger: list[Attempt]


class NotificationRetried(Notification):
    """A message that is sent again."""

    success: bool


class NotificationList(Answer):
    """A page of the ledger, the newest first."""

    notifications: list[Notification]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None
