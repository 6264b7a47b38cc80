"""Jobs as stored: queued, taken by one process, moved on, ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from asyncpg import Record

from daemon.domain.jobs import Job, JobState
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("jobs")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process does now; `attempts` counts how often it was begun."""

    job_id: str
    type: str
    params: dict[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None means any."""

    type: str | None = None
    state: str | None = None
    created_by: str | None = None


class JobStore:
    """Statements on jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self, job_id: str, *, type: str, params: dict[str, Any], device_id: str | None, by: str
    ) -> None:
        metric_name = params.get("metric_name")
        async with self._database.transaction("control") as connection:
            await connection.execute(
                SQL["insert"], job_id, type, _json(params), device_id, metric_name, by
            )

    async def find(self, job_id: str) -> Job | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find"], job_id)
        return None if row is None else _job(row)

    async def latest(
        self, type: str, *, device_id: str | None, created_by: str | None
    ) -> Job | None:
        """The newest finished job of a type, of one maker or of anybody."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["latest"], type, device_id, created_by)
        return None if row is None else _job(row)

    async def page(self, wanted: JobFilter, *, limit: int, offset: int) -> tuple[list[Job], int]:
        """A page, newest first and without their results, and how many there are."""
        values = (wanted.type, wanted.state, wanted.created_by)
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["page"], *values, limit, offset)
            total: int = await connection.fetchval(SQL["count_jobs"], *values)
        return [_job(row) for row in rows], total

    async def waiting(self) -> int:
        """How many are queued or running."""
        async with self._database.connection("control") as connection:
            return int(await connection.fetchval(SQL["waiting"]))

    async def claim(self, holder: UUID, *, hold_s: float) -> Claim | None:
        """Take the next job, also one whose process died; None when nothing waits."""
        async with self._database.connection("control", writing=True) as connection:
            row = await connection.fetchrow(SQL["claim"], holder, hold_s)
        if row is None:
            return None
        return Claim(row["job_id"], row["type"], orjson.loads(row["params"]), row["attempts"])

    async def advance(
        self, job_id: str, holder: UUID, *, progress: float, text: str, hold_s: float
    ) -> bool:
        """Say how far it is; False when it is not this process's any more."""
        async with self._database.connection("control", writing=True) as connection:
            found = await connection.fetchval(
                SQL["advance"], job_id, holder, progress, text, hold_s
            )
        return found is not None

    async def finish(
        self, job_id: str, holder: UUID, *, result: Any = None, error: dict[str, Any] | None = None
    ) -> bool:
        """End it; False when it is not this process's any more."""
        state = JobState.DONE if error is None else JobState.FAILED
        async with self._database.connection("control", writing=True) as connection:
            found = await connection.fetchval(
                SQL["finish"], job_id, holder, state, _json(result), _json(error)
            )
        return found is not None

    async def cancel(self, job_id: str, *, error: dict[str, Any]) -> bool:
        """End it whatever it does; False when it is over already."""
        async with self._database.connection("control", writing=True) as connection:
            return await connection.fetchval(SQL["cancel"], job_id, _json(error)) is not None


def _job(row: Record) -> Job:
    fields = dict(row)
    for name in ("params", "result", "error"):
        fields[name] = None if fields[name] is None else orjson.loads(fields[name])
    return Job(**fields)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
