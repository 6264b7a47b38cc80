"""Routes of watches."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response

from daemon.domain.watches import shown
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.watches import (
    Watch,
    WatchCreate,
    WatchDeleted,
    WatchList,
    WatchPatch,
    WatchState,
)

router = new_router(tags=["watches"])

WatchId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]


@router.post("/watches", status_code=201, response_model=Watch, operation_id="create_watch")
async def create_watch(body: WatchCreate, who: AlertsWriter, parts: Parts) -> Response:
    """Be told once, at the first such change of one device."""
    watch = await parts.watches.create(_given(body), by=who)
    return json_answer(shown(watch, now=parts.watches.now), status=201)


@router.get("/watches", response_model=WatchList, operation_id="list_watches")
async def list_watches(
    who: Reader,
    parts: Parts,
    state: WatchState | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """The caller's own watches, the newest first."""
    found, total = await parts.watches.page(state=state, by=who, limit=limit, offset=offset)
    now = parts.watches.now
    return json_answer(
        {"watches": [shown(watch, now=now) for watch in found], "count": len(found),
         "total": total, "filters": {"state": state} if state else {},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/watches/{watch_id}", response_model=Watch, operation_id="show_watch")
async def show_watch(watch_id: WatchId, who: Reader, parts: Parts) -> Response:
    """One watch of the caller."""
    return json_answer(shown(await parts.watches.show(watch_id, by=who), now=parts.watches.now))


@router.patch("/watches/{watch_id}", response_model=Watch, operation_id="change_watch")
async def change_watch(
    watch_id: WatchId, body: WatchPatch, who: AlertsWriter, parts: Parts
) -> Response:
    """Change a watch that has not fired."""
    watch = await parts.watches.change(watch_id, _given(body), by=who)
    return json_answer(shown(watch, now=parts.watches.now))


@router.delete("/watches/{watch_id}", response_model=WatchDeleted, operation_id="delete_watch")
async def delete_watch(watch_id: WatchId, who: AlertsWriter, parts: Parts) -> Response:
    """Remove a watch, whatever became of it."""
    await parts.watches.delete(watch_id, by=who)
    return json_answer({"success": True, "message": f"{watch_id} is deleted"})


def _given(body: WatchCreate | WatchPatch) -> dict[str, Any]:
    given = body.model_dump(exclude_unset=True, by_alias=True)
    if "expires_at" in given:
        given["expires_at"] = body.expires_at
    if given.get("quiet_hours") is not None:
        assert body.quiet_hours is not None
        given["quiet_hours"] = body.quiet_hours.model_dump(exclude_unset=True, mode="json")
    return given
