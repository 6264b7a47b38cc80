"""Routes for administrators of the installation."""

from __future__ import annotations

from starlette.responses import Response

from daemon.transport.answers import json_answer
from daemon.transport.auth import Admin
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.admin import PartitionList, RetentionRun

router = new_router(tags=["admin"])


@router.get(
    "/admin/partitions", response_model=PartitionList, operation_id="list_journal_partitions"
)
async def list_partitions(who: Admin, parts: Parts) -> Response:
    """The hours of the journal that have a partition, oldest first."""
    return json_answer(await parts.administration.partitions(by=who))


@router.post(
    "/admin/retention/run",
    response_model=RetentionRun,
    status_code=202,
    operation_id="run_retention",
)
async def run_retention(who: Admin, parts: Parts) -> Response:
    """Remove what is older than its retention now, rather than within a minute."""
    await parts.administration.run_retention(by=who)
    return json_answer({"requested": True}, status=202)
