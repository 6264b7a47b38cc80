"""The route of rates: who sends how much just now."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import WithJsonSchema
from starlette.responses import Response

from daemon.domain.errors import Malformed
from daemon.service.rates import WINDOW_S_MAX, By
from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.reading import DurationUs
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.rates import RateTable

router = new_router(tags=["stats"])

Limit = Annotated[int, Query(ge=1, le=1000)]
Window = Annotated[
    DurationUs, WithJsonSchema({"type": "string", "pattern": "^(0?[1-9]|[1-5][0-9])s?$"})
]


@router.get("/rates", response_model=RateTable, operation_id="list_rates")
async def list_rates(
    who: Reader,
    parts: Parts,
    by: By = By.DEVICE,
    window: Window = 10_000_000,
    limit: Limit = 20,
) -> Response:
    """Points a second by device, metric or key (which needs the scope keys), the busiest first."""
    window_s = window // 1_000_000
    if not 1 <= window_s <= WINDOW_S_MAX:
        raise Malformed(f"window is 1s to {WINDOW_S_MAX}s", code="bad_window")
    table = await parts.rates.table(who, by=by, window_s=window_s, limit=limit)
    return json_answer(table)
