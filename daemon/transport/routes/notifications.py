"""Routes of the ledger of messages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from daemon.service.ledger import shown
from daemon.store.ledger import LedgerFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset, Text
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.notifications import Notification, NotificationList, NotificationRetried

router = new_router(tags=["notifications"])

NotificationId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]


@router.get("/notifications", response_model=NotificationList, operation_id="list_notifications")
async def list_notifications(
    who: Reader,
    parts: Parts,
    channel: Text | None = None,
    status: Text | None = None,
    alert_id: Text | None = None,
    kind: Text | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Messages, the newest first; `status` is a status or a verdict: `dead`, `silenced`."""
    wanted = LedgerFilter(channel, status, alert_id, kind)
    entries, total = await parts.ledger.page(wanted, by=who, limit=limit, offset=offset)
    filters = {"channel": channel, "status": status, "alert_id": alert_id, "kind": kind}
    return json_answer(
        {"notifications": [shown(entry) for entry in entries], "count": len(entries),
         "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get(
    "/notifications/{notification_id}",
    response_model=Notification,
    operation_id="show_notification",
)
async def show_notification(notification_id: NotificationId, who: Reader, parts: Parts) -> Response:
    """One message with its attempts."""
    return json_answer(shown(await parts.ledger.show(notification_id, by=who)))


@router.post(
    "/notifications/{notification_id}/retry",
    response_model=NotificationRetried,
    operation_id="retry_notification",
)
async def retry_notification(
    notification_id: NotificationId, who: AlertsWriter, parts: Parts
) -> Response:
    """Send a message again that was given up, or now one that waits for its next attempt."""
    entry = await parts.ledger.retry(notification_id, by=who)
    return json_answer(shown(entry) | {"success": True})
