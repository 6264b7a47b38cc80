"""The route that says what a key may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.domain.access import Principal
from daemon.domain.errors import Malformed
from daemon.domain.rights import Operation, lack_of
from daemon.service.key_access import Holder
from daemon.transport.answers import json_answer
from daemon.transport.auth import AnyHolder
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.keys import KeyAccess

router = new_router(tags=["keys"])

KeyIdOrSelf = Annotated[
    str,
    Path(
        max_length=64, pattern=r"^[0-9a-z_]+$", description="`self` is who asks, also with a login"
    ),
]
Name = Annotated[str, Query(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
OperationName = Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[a-z_]+$")]


@router.get("/keys/{key_id}/access", response_model=KeyAccess, operation_id="show_key_access")
async def show_key_access(
    key_id: KeyIdOrSelf,
    who: AnyHolder,
    parts: Parts,
    request: Request,
    operation: OperationName | None = None,
    device_id: Name | None = None,
    metric_name: Name | None = None,
) -> Response:
    """What a key may do: one's own, or, with the scope `keys`, one that may do no more.

    `operation`, as this document names it, `device_id` and `metric_name` ask for one thing, which
    `allowed` answers.
    """
    asked = _named(operation, request.app.state.operations)
    holder = await parts.key_access.find(key_id, by=who)
    rows = [_row(one, holder) for one in asked]
    seen = _seen(holder.principal, device_id=device_id, metric_name=metric_name)
    is_allowed = None
    if operation or device_id or metric_name:
        is_done = rows[0]["allowed"] if operation else holder.is_alive
        is_allowed = is_done and False not in seen.values()
    shown = _shown(holder) | {"device_id": device_id, "metric_name": metric_name} | seen
    return json_answer(shown | {"allowed": is_allowed, "operations": rows})


def _named(name: str | None, operations: list[Operation]) -> list[Operation]:
    """The operation of this name, or all. Raises Malformed."""
    if name is None:
        return operations
    found = [one for one in operations if one.operation == name]
    if not found:
        raise Malformed(f"there is no operation {name}", code="unknown_operation")
    return found


def _row(operation: Operation, holder: Holder) -> dict[str, object]:
    lack = lack_of(holder.principal, operation, is_alive=holder.is_alive)
    return {
        "operation": operation.operation,
        "method": operation.method,
        "path": operation.path,
        "scope": operation.scope,
        "allowed": lack is None,
        "lack": lack,
    }


def _seen(
    principal: Principal, *, device_id: str | None, metric_name: str | None
) -> dict[str, bool | None]:
    return {
        "sees_device": None if device_id is None else principal.sees_device(device_id),
        "sees_metric": None if metric_name is None else principal.sees_metric(metric_name),
    }


def _shown(holder: Holder) -> dict[str, object]:
    principal = holder.principal
    is_key = principal.key_id.startswith("key_")
    return {
        "principal": principal.key_id,
        "key_id": principal.key_id if is_key else None,
        "name": principal.name,
        "state": holder.state,
        "is_alive": holder.is_alive,
        "scopes": sorted(principal.scopes),
        "tier": principal.tier,
        "devices": principal.devices,
        "groups": principal.groups,
        "metrics": principal.metrics,
        "expires_at": holder.expires_at,
        "former_valid_until": holder.former_valid_until,
        "revoked_at": holder.revoked_at,
    }
