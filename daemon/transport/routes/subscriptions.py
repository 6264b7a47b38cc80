"""Routes of subscriptions: what a socket at `/ws/telemetry/{id}` is going to send."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from daemon.domain.wanted import read_wanted
from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.streams import Subscribe, Subscribed, SubscriptionCancelled

router = new_router(tags=["streams"])

SubscriptionId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]


@router.post("/subscribe", status_code=201, response_model=Subscribed, operation_id="subscribe")
async def subscribe(body: Subscribe, who: Reader, parts: Parts) -> Response:
    """Say what to send; the socket has a minute to come, and a minute to come back."""
    wanted = read_wanted(body.model_dump())
    # What can't be subscribed to is refused here rather than at the socket.
    wanted.interest(lambda names: parts.reads.changes.find_groups(who, names))
    subscription_id = await parts.subscriptions.create(who, wanted.as_json())
    url = f"/ws/telemetry/{subscription_id}"
    return json_answer(
        {"subscription_id": subscription_id, "message": f"connect to {url}", "websocket_url": url},
        status=201,
    )


@router.delete(
    "/subscribe/{subscription_id}",
    response_model=SubscriptionCancelled,
    operation_id="cancel_subscription",
)
async def cancel(subscription_id: SubscriptionId, who: Reader, parts: Parts) -> Response:
    """End a subscription and close its socket, in whichever process it is."""
    await parts.subscriptions.cancel(subscription_id, by=who)
    return json_answer({"success": True, "message": f"{subscription_id} is cancelled"})
