"""Routes of jobs, and of the backtest that is one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from daemon.clock import as_us
from daemon.domain.access import Principal
from daemon.domain.errors import Invalid
from daemon.domain.jobs import Job as Stored
from daemon.domain.jobs import JobState
from daemon.service.backtests import BACKTEST, BacktestRequest
from daemon.store.jobs import JobFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.paging import Limit, Offset, Text
from daemon.transport.problems import PROBLEM_MEDIA_TYPE, problem
from daemon.transport.request_id import request_id_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts, Services
from telemetryctl.api.jobs import (
    BacktestNew,
    Job,
    JobCancelled,
    JobList,
    JobNew,
    JobQueued,
    JobStatus,
)

router = new_router(tags=["jobs"])

JobId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
JobType = Annotated[str, Query(max_length=64, pattern=r"^[a-z_]+$")]
PREFIX = "/api/v1/telemetry"


@router.post(
    "/alerts/rules/backtest", status_code=202, response_model=JobQueued,
    operation_id="backtest_rule",
)  # fmt: skip
async def backtest_rule(body: BacktestNew, who: Reader, parts: Parts) -> Response:
    """What a rule would have done over stored history, as a job; nothing is written to alerts."""
    return await _queue_backtest(body, who, parts, device_id=None)


@router.post("/jobs", status_code=202, response_model=JobQueued, operation_id="create_job")
async def create_job(body: JobNew, who: Reader, parts: Parts) -> Response:
    """Queue a job; known types are `backtest`."""
    if body.type != BACKTEST:
        raise Invalid(
            f"there is no type {body.type}; known are: {', '.join(parts.jobs.types)}",
            code="unknown_type",
        )
    try:
        asked = BacktestNew.model_validate(body.params)
    except ValidationError as error:
        errors = [
            {
                "pointer": "/params/" + "/".join(map(str, found["loc"])),
                "code": found["type"],
                "detail": found["msg"],
            }
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Invalid(errors[0]["detail"], errors=errors) from error
    device_id = body.subject.device_id if body.subject else None
    return await _queue_backtest(asked, who, parts, device_id=device_id)


@router.get("/jobs", response_model=JobList, operation_id="list_jobs")
async def list_jobs(
    who: Reader,
    parts: Parts,
    type: JobType | None = None,
    status: JobStatus | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Jobs, the newest first, without their results."""
    wanted = JobFilter(type, status)
    jobs, total = await parts.jobs.page(wanted, by=who, limit=limit, offset=offset)
    filters = {"type": type, "status": status}
    return json_answer(
        {"jobs": [_shown(job) for job in jobs], "count": len(jobs), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/jobs/latest", response_model=Job, operation_id="latest_job")
async def latest_job(
    who: Reader, parts: Parts, type: JobType, device_id: Text | None = None
) -> Response:
    """The newest finished job of a type."""
    return json_answer(_shown(await parts.jobs.latest(type, device_id=device_id, by=who)))


@router.get(
    "/jobs/{job_id}",
    response_model=Job,
    operation_id="show_job",
    responses={
        202: {"model": Job, "description": "It waits or runs."},
        500: {
            "description": "It failed: a problem that says why.",
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
)
async def show_job(job_id: JobId, who: Reader, parts: Parts, request: Request) -> Response:
    """A job: 202 while it waits or runs, 200 with its result, 500 when it failed."""
    job = await parts.jobs.show(job_id, by=who)
    if job.state == JobState.FAILED:
        error = job.error or {}
        body = problem(
            500,
            code=str(error.get("code", "job_failed")),
            detail=str(error.get("detail", "the job failed")),
            request_id=request_id_of(request.scope),
            members={"job_id": job.job_id, "type_of_job": job.type},
        )
        return Response(body, 500, {"Cache-Control": "no-store"}, PROBLEM_MEDIA_TYPE)
    return json_answer(_shown(job), status=200 if job.is_over else 202)


@router.delete("/jobs/{job_id}", response_model=JobCancelled, operation_id="cancel_job")
async def cancel_job(job_id: JobId, who: Reader, parts: Parts) -> Response:
    """End a job that waits or runs."""
    await parts.jobs.cancel(job_id, by=who)
    return json_answer({"success": True, "message": f"job {job_id} is cancelled"})


async def _queue_backtest(
    body: BacktestNew, who: Principal, parts: Services, *, device_id: str | None
) -> Response:
    rule = None if body.rule is None else body.rule.model_dump(exclude_unset=True, by_alias=True)
    request = BacktestRequest(
        rule,
        body.rule_id,
        as_us(body.start_time),
        as_us(body.end_time),
        body.set,
        body.as_arrived,
    )
    params = await parts.backtests.params(request, by=who)
    job_id = await parts.jobs.create(BACKTEST, params, device_id=device_id, by=who)
    return json_answer({"job_id": job_id, "status_url": f"{PREFIX}/jobs/{job_id}"}, status=202)


def _shown(job: Stored) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "type": job.type,
        "status": job.state,
        "progress": job.progress,
        "progress_text": job.progress_text,
        "result": job.result,
        "error": job.error,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "generated_at": job.finished_at if job.state == JobState.DONE else None,
        "created_by": job.created_by,
    }
