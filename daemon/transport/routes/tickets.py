"""The route of tickets: how a browser, which can send no header, opens a stream."""

from __future__ import annotations

from starlette.responses import Response

from daemon.domain.interest import make_interest
from daemon.service.tickets import LIFE_S
from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.streams import TicketCreate, TicketCreated

router = new_router(tags=["streams"])


@router.post("/tickets", status_code=201, response_model=TicketCreated, operation_id="make_ticket")
async def make_ticket(who: Reader, parts: Parts, body: TicketCreate | None = None) -> Response:
    """A ticket for one use as `?ticket=`, within 30 seconds."""
    wanted = body or TicketCreate()
    # What can't be opened is refused here rather than at the stream.
    if wanted.channel is not None:
        make_interest(channels=[wanted.channel])
    if wanted.subscription_id is not None:
        await parts.subscriptions.find(wanted.subscription_id, by=who)
    ticket = await parts.tickets.create(
        who, subscription_id=wanted.subscription_id, channel=wanted.channel
    )
    answer = json_answer({"ticket": ticket, "expires_in": LIFE_S}, status=201)
    answer.headers["cache-control"] = "no-store"
    return answer
