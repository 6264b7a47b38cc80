"""Routes of figures about devices and the service."""

from __future__ import annotations

from starlette.responses import Response

from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.leaving import long_read
from daemon.transport.paths import PathId
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.stats import DeviceStats, ServiceStats

router = new_router(tags=["stats"])


@router.get("/stats", response_model=ServiceStats, operation_id="service_stats")
@long_read
async def service_stats(who: Reader, parts: Parts) -> Response:
    """Figures of the whole service; zeros without data."""
    return json_answer(await parts.stats.service(by=who))


@router.get("/devices/{device_id}/stats", response_model=DeviceStats, operation_id="device_stats")
@long_read
async def device_stats(device_id: PathId, who: Reader, parts: Parts) -> Response:
    """Figures of one device; zeros without data."""
    return json_answer(await parts.stats.device(device_id, by=who))
