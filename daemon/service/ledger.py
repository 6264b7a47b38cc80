"""The ledger of messages: who was told what, who was not and why, and sending again."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.alert_record import Alert
from daemon.domain.deliveries import Outcome
from daemon.domain.errors import Conflict, Forbidden, NotFound
from daemon.domain.ids import new_id
from daemon.domain.patterns import as_like
from daemon.log import get_logger
from daemon.service.channels import Channels
from daemon.service.notifying import Notifying
from daemon.store.ledger import Entry, LedgerFilter, LedgerStore

TEST_TEXT = "This is a test of the channel {name}: messages arrive."
_HIDDEN = frozenset({"may_be_told", "cause"})

log = get_logger()


class Ledger:
    """A key sees messages about devices and metrics that it sees; digests and tests are for those
    that see every device."""

    def __init__(
        self, store: LedgerStore, *, channels: Channels, notifying: Notifying, clock: Clock
    ) -> None:
        self._store = store
        self._channels = channels
        self._notifying = notifying
        self._clock = clock

    async def page(
        self, wanted: LedgerFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[Entry], int]:
        """A page of what the key may see, the newest first, and how many there are."""
        visible = replace(
            wanted,
            metric_likes=as_like(by.metrics),
            device_likes=as_like(by.devices),
            seen_ids=None if by.groups is None else list(by.member_ids),
        )
        return await self._store.page(visible, limit=limit, offset=offset)

    async def show(self, notification_id: str, *, by: Principal) -> Entry:
        """Raises NotFound."""
        entry = await self._store.find(notification_id)
        if entry is None or not _sees(by, entry):
            raise _unknown(notification_id)
        return entry

    async def of_alert(self, alert: Alert) -> list[Entry]:
        """All messages about an alert that the caller was allowed to see."""
        return await self._store.of_alert(alert.alert_id)

    async def retry(self, notification_id: str, *, by: Principal) -> Entry:
        """Send a message again that was given up; one that waits for its next attempt, at once.

        Raises NotFound, and Conflict `not_retryable`.
        """
        entry = await self.show(notification_id, by=by)
        if not await self._store.retry(notification_id, by=by.key_id):
            raise Conflict(
                f"{notification_id} is {entry.status}; only what was given up is sent again",
                code="not_retryable",
            )
        log.info("notification_retried", notification_id=notification_id, by=by.key_id)
        return await self.show(notification_id, by=by)

    async def test(self, name: str, *, by: Principal) -> tuple[Entry, Outcome]:
        """Send a message to a channel now, whatever its circuit says, and tell what came of it.

        Raises NotFound, and Forbidden for a key that is bound.
        """
        if not by.sees_everything:
            raise Forbidden(
                "a key that is bound to devices, groups or metrics can't try channels",
                code="outside_patterns",
            )
        channel = await self._channels.find(name)
        notification_id = new_id("ntf", now_us=self._clock.now_us())
        text = TEST_TEXT.format(name=name)
        outcome = await self._notifying.test(
            channel, notification_id=notification_id, payload={"message": text, "channel": name}
        )
        log.info("channel_tested", channel=name, by=by.key_id, is_sent=outcome.is_sent)
        return await self.show(notification_id, by=by), outcome


def shown(entry: Entry) -> dict[str, Any]:
    """The message as the contract shows it; `idempotency_key` is what receivers are told."""
    fields = asdict(entry)
    data = fields.pop("verdict_data")
    attempts = fields.pop("ledger")
    return fields | {
        "idempotency_key": entry.notification_id,
        "reason": {name: value for name, value in data.items() if name not in _HIDDEN},
        "ledger": attempts,
    }


def _sees(by: Principal, entry: Entry) -> bool:
    if by.is_bound and (entry.device_id is None or not by.sees_device(entry.device_id)):
        return False
    if by.metrics is None:
        return True
    return entry.metric_name is not None and by.sees_metric(entry.metric_name)


def _unknown(notification_id: str) -> NotFound:
    return NotFound(f"there is no message {notification_id}", code="unknown_notification")
