"""Routes of silences."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.responses import Response

from daemon.domain.silences import shown
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.silences import (
    Silence,
    SilenceCreate,
    SilenceExpired,
    SilenceList,
    SilencePatch,
)

router = new_router(tags=["silences"])

SilenceId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
Expired = Annotated[bool, Query(description="also those that are over")]


@router.post("/silences", status_code=201, response_model=Silence, operation_id="create_silence")
async def create_silence(body: SilenceCreate, who: AlertsWriter, parts: Parts) -> Response:
    """Hold back messages about what fits; the alerts are recorded all the same."""
    silence = await parts.silences.create(_given(body), by=who)
    return json_answer(shown(silence, now=parts.silences.now), status=201)


@router.get("/silences", response_model=SilenceList, operation_id="list_silences")
async def list_silences(
    who: Reader,
    parts: Parts,
    expired: Expired = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Silences, those that end last first."""
    found, total = await parts.silences.page(
        with_expired=expired, by=who, limit=limit, offset=offset
    )
    now = parts.silences.now
    return json_answer(
        {"silences": [shown(silence, now=now) for silence in found], "count": len(found),
         "total": total, "filters": {"expired": True} if expired else {},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/silences/{silence_id}", response_model=Silence, operation_id="show_silence")
async def show_silence(silence_id: SilenceId, who: Reader, parts: Parts) -> Response:
    """One silence."""
    return json_answer(shown(await parts.silences.show(silence_id, by=who), now=parts.silences.now))


@router.patch("/silences/{silence_id}", response_model=Silence, operation_id="change_silence")
async def change_silence(
    silence_id: SilenceId, body: SilencePatch, who: AlertsWriter, parts: Parts
) -> Response:
    """Change a silence that is not over; what it held back is looked at again."""
    silence = await parts.silences.change(silence_id, _given(body), by=who)
    return json_answer(shown(silence, now=parts.silences.now))


@router.delete(
    "/silences/{silence_id}", response_model=SilenceExpired, operation_id="expire_silence"
)
async def expire_silence(silence_id: SilenceId, who: AlertsWriter, parts: Parts) -> Response:
    """End a silence now; it stays readable with `expired=true`."""
    await parts.silences.expire(silence_id, by=who)
    return json_answer({"success": True, "message": f"{silence_id} is over"})


def _given(body: SilenceCreate | SilencePatch) -> dict[str, Any]:
    given = {name: getattr(body, name) for name in body.model_fields_set}
    if "matchers" in given:
        given["matchers"] = body.matchers.model_dump(exclude_none=True, mode="json")
    return given
