"""Route that says who a credential belongs to."""

from __future__ import annotations

from starlette.responses import Response

from daemon.transport.answers import json_answer
from daemon.transport.auth import AnyHolder
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.keys import Principal as PrincipalAnswer

router = new_router(tags=["auth"])


@router.get("/auth/whoami", response_model=PrincipalAnswer, operation_id="whoami")
async def whoami(who: AnyHolder, parts: Parts) -> Response:
    """The holder of this request's key and what it may do."""
    key = await parts.keys.holder(who)
    return json_answer(
        {"principal": key.key_id, "key_id": key.key_id, "name": key.name, "scopes": key.scopes,
         "tier": key.tier, "devices": key.devices, "groups": key.groups, "metrics": key.metrics,
         "expires_at": key.expires_at}
    )  # fmt: skip
