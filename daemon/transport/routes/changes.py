"""The route that follows the journal: the polling door of the stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.service.changes import (
    PAGE_POINTS_DEFAULT,
    PAGE_POINTS_MAX,
    WAIT_S_MAX,
)
from daemon.transport.auth import Reader
from daemon.transport.json_pages import changes_json, json_bytes
from daemon.transport.leaving import ends_with_client
from daemon.transport.reading import After, GroupNames, NameList, filter_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.queries import Changes

router = new_router(tags=["reading"])

Limit = Annotated[int, Query(ge=1, le=PAGE_POINTS_MAX)]
Wait = Annotated[float, Query(ge=0, le=WAIT_S_MAX, allow_inf_nan=False, description="seconds")]


@router.get("/changes", response_model=Changes, operation_id="list_changes")
@ends_with_client
async def list_changes(
    request: Request,
    who: Reader,
    parts: Parts,
    after: After = "",
    device_ids: NameList = None,
    metric_names: NameList = None,
    groups: GroupNames = None,
    limit: Limit = PAGE_POINTS_DEFAULT,
    wait: Wait = 0.0,
) -> Response:
    """Points in commit order behind a cursor; `tag.K=V` asks for a tag of the point."""
    wanted = filter_of(request, device_ids, metric_names, groups)
    page = await parts.reads.changes.page(who, wanted, after=after, limit=limit, wait_s=wait)
    return json_bytes(changes_json(page))
