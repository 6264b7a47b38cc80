"""Long work with progress: what is asked for and how far it is. Who does it is service/jobs'."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.access import Principal


class JobState(StrEnum):
    """From first to last; a job ends as one of the last two."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`progress` runs from 0 to 1; `error` is `{"code", "detail"}` of a job that failed."""

    job_id: str
    type: str
    state: str
    params: dict[str, Any]
    progress: float
    progress_text: str | None
    result: Any
    error: dict[str, Any] | None
    device_id: str | None
    metric_name: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str

    @property
    def is_over(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED)


def sees_job(principal: Principal, job: Job) -> bool:
    """Whose job it is sees it, and who sees everything."""
    return only_of(principal) in (None, job.created_by)


def only_of(principal: Principal) -> str | None:
    """Whose jobs it sees; None: everybody's."""
    return None if principal.sees_everything else principal.key_id
