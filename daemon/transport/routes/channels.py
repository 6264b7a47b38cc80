"""Routes of channels."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response

from daemon.domain.channels import shown
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.channels import (
    Channel,
    ChannelCreate,
    ChannelDeleted,
    ChannelKind,
    ChannelList,
    ChannelPatch,
    ChannelTested,
)

router = new_router(tags=["channels"])

Name = Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9_.:@-]+$")]


@router.post("/channels", status_code=201, response_model=Channel, operation_id="create_channel")
async def create_channel(body: ChannelCreate, who: AlertsWriter, parts: Parts) -> Response:
    """Make a channel; the secret that is made for a webhook is shown here and never again."""
    made = await parts.channels.create(_given(body), by=who)
    secret = {} if made.secret is None else {"secret": made.secret}
    return json_answer(shown(made.channel) | secret, status=201)


@router.get("/channels", response_model=ChannelList, operation_id="list_channels")
async def list_channels(
    who: Reader,
    parts: Parts,
    kind: ChannelKind | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Channels by name, without their secrets."""
    found, total = await parts.channels.page(kind=kind, by=who, limit=limit, offset=offset)
    return json_answer(
        {"channels": [shown(channel) for channel in found], "count": len(found), "total": total,
         "filters": {} if kind is None else {"kind": kind}, "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/channels/{name}", response_model=Channel, operation_id="show_channel")
async def show_channel(name: Name, who: Reader, parts: Parts) -> Response:
    """One channel, without its secrets."""
    return json_answer(shown(await parts.channels.show(name, by=who)))


@router.patch("/channels/{name}", response_model=Channel, operation_id="change_channel")
async def change_channel(
    name: Name, body: ChannelPatch, who: AlertsWriter, parts: Parts
) -> Response:
    """Change the given fields; what waits for the channel is tried at once."""
    return json_answer(shown(await parts.channels.change(name, _given(body), by=who)))


@router.delete("/channels/{name}", response_model=ChannelDeleted, operation_id="delete_channel")
async def delete_channel(name: Name, who: AlertsWriter, parts: Parts) -> Response:
    """Remove a channel; the answer names the rules that still tell it."""
    rules = await parts.channels.delete(name, by=who)
    message = f"channel {name} is deleted"
    if rules:
        message += f"; {len(rules)} rules still name it"
    return json_answer({"success": True, "message": message, "rules": rules})


@router.post("/channels/{name}/test", response_model=ChannelTested, operation_id="test_channel")
async def test_channel(name: Name, who: AlertsWriter, parts: Parts) -> Response:
    """Send a message now; `success` says whether it arrived."""
    entry, outcome = await parts.ledger.test(name, by=who)
    said = "arrived" if outcome.is_sent else f"did not arrive: {outcome.detail}"
    latency_ms = entry.ledger[-1].latency_ms if entry.ledger else None
    return json_answer(
        {"success": outcome.is_sent, "message": f"the test of {name} {said}", "channel": name,
         "notification_id": entry.notification_id, "status": entry.status,
         "status_code": outcome.status_code, "latency_ms": latency_ms, "detail": outcome.detail}
    )  # fmt: skip


def _given(body: ChannelCreate | ChannelPatch) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True, mode="json", by_alias=True)
