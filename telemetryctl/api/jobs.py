"""Long work with progress: jobs, and the backtest of a rule."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from telemetryctl.api.model import Answer, Input, Instant
from telemetryctl.api.rules import RuleLint

CANDIDATE_VALUES_MAX = 100


class JobStatus(StrEnum):
    """From first to last; a job ends as one of the last two."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BacktestNew(Input):
    """What a rule would have done in `[start_time, end_time)`.

    `rule` as at its creation (a name is not needed), or `rule_id`; `set` gives fields several
    values, each combination is a candidate. `as_arrived` judges points as late as they came, as far
    back as the journal is kept.
    """

    rule: RuleLint | None = None
    rule_id: Annotated[str, Field(max_length=64)] | None = None
    start_time: Instant
    end_time: Instant
    set: dict[
        Annotated[str, Field(max_length=64)],
        Annotated[list[Any], Field(min_length=1, max_length=CANDIDATE_VALUES_MAX)],
    ] = Field(default_factory=dict, max_length=8)
    as_arrived: bool = False


class JobSubject(Input):
    """What a job is about."""

    device_id: Annotated[str, Field(max_length=128)] | None = None


class JobNew(Input):
    """A job of a type, with the parameters of that type."""

    type: Annotated[str, Field(max_length=64, pattern=r"^[a-z_]+$")]
    params: dict[str, Any] = Field(default_factory=dict)
    subject: JobSubject | None = None


class JobQueued(Answer):
    """Where to ask for the result."""

    job_id: str
    status_url: str


class Job(Answer):
    """`progress` runs from 0 to 1."""

    job_id: str
    type: str
    status: JobStatus
    progress: float
    progress_text: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    generated_at: Instant | None = None
    created_by: str


class JobList(Answer):
    """Newest first, without their results."""

    jobs: list[Job]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class JobCancelled(Answer):
    """The job was ended."""

    success: bool
    message: str
