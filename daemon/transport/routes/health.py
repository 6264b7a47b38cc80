"""Routes of health: for load balancers, monitoring and people."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from daemon.domain.errors import Refused, TryLater
from daemon.service.health import HealthView
from daemon.transport.answers import json_answer
from daemon.transport.auth import NO_CREDENTIAL, authenticate, token_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts, Services
from telemetryctl import __version__
from telemetryctl.api.health import Health, HealthDetailed, Liveness, Readiness

OPEN: dict[str, Any] = {"openapi_extra": {"x-scope": NO_CREDENTIAL}}
ALIAS: dict[str, Any] = OPEN | {"include_in_schema": False}
"""The same under the names that Kubernetes uses."""
RETRY_AFTER_S = "1"

router = new_router(tags=["health"])


def down(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """A 503 of health says what a 200 does; only who is not let in at all gets a problem."""
    said = "Not well, and the body says why; `Retry-After` says when to ask again."
    return {503: {"model": model, "description": said}}


@router.get("/health", response_model=Health, operation_id="health", responses=down(Health), **OPEN)
async def health(request: Request, parts: Parts) -> Response:
    """Whether the daemon can do its work; 503 when a critical dependency is down."""
    view = parts.health.view()
    return _answer(_body(view, request, parts), is_good=view.is_healthy)


@router.get("/readyz", **ALIAS)
@router.get(
    "/health/ready",
    response_model=Readiness,
    operation_id="health_ready",
    responses=down(Readiness),
    **OPEN,
)
async def ready(parts: Parts) -> Response:
    """Whether requests should be sent here now; 503 when not."""
    view = parts.health.view()
    return _answer({"ready": view.is_ready, "reasons": view.reasons}, is_good=view.is_ready)


@router.get("/livez", **ALIAS)
@router.get("/health/live", response_model=Liveness, operation_id="health_live", **OPEN)
async def live() -> Response:
    """The process answers."""
    return json_answer({"alive": True})


@router.get(
    "/health/detailed",
    response_model=HealthDetailed,
    operation_id="health_detailed",
    responses=down(HealthDetailed),
    **OPEN,
)
async def detailed(request: Request, parts: Parts) -> Response:
    """The state of each part, of the process that answers; with a key also its numbers."""
    view = parts.health.view()
    is_known = await _has_key(request, parts)
    parts_of = parts.health.details() if is_known else parts.health.states()
    body = _body(view, request, parts) | {"process": parts.health.process} | parts_of
    return _answer(body, is_good=view.is_healthy)


async def _has_key(request: Request, parts: Services) -> bool:
    """A key that can't be checked now counts as none.

    Health must answer while the database is down.
    """
    if token_of(request.scope["headers"]) is None:
        return False
    try:
        await authenticate(request.scope, parts.keys)
    except (Refused, TryLater):
        return False
    return True


def _body(view: HealthView, request: Request, parts: Services) -> dict[str, Any]:
    server = request.scope.get("server") or ("", parts.port)
    return health_body(view, port=parts.port or server[1])


def health_body(view: HealthView, *, port: int) -> dict[str, Any]:
    """What /health says."""
    return {
        "status": "healthy" if view.is_healthy else "unhealthy",
        "service": "telemetry_service",
        "port": port,
        "version": __version__,
        "dependencies": view.dependencies,
    }


def _answer(body: dict[str, Any], *, is_good: bool) -> Response:
    if is_good:
        return json_answer(body)
    return json_answer(body, status=503, headers={"Retry-After": RETRY_AFTER_S})
