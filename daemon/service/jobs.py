"""Jobs: queuing, finding and doing them. What a type of job does is its handler's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.errors import Busy, Conflict, DomainError, NotFound
from daemon.domain.ids import new_id
from daemon.domain.jobs import Job, only_of, sees_job
from daemon.log import get_logger
from daemon.store.jobs import Claim, JobFilter, JobStore

HOLD_S = 30.0
"""A job whose process says nothing for so long is taken by another."""
ATTEMPTS_MAX = 3
WAITING_MAX = 100
"""Over this many jobs that wait or run a further one is answered 503."""

log = get_logger()


class JobCancelled(DomainError):
    """The job was cancelled, or another process does it now."""

    code = "cancelled"


@dataclass(slots=True)
class Report:
    """How a handler says how far it is: at most once in `every_s`."""

    store: JobStore
    clock: Clock
    job_id: str
    holder: UUID
    every_s: float = 0.5
    _said_s: float = field(default=0.0)

    async def __call__(self, progress: float, text: str) -> None:
        """Raises JobCancelled when the work is for nothing."""
        now_s = self.clock.monotonic_s()
        if now_s - self._said_s < self.every_s:
            return
        self._said_s = now_s
        is_ours = await self.store.advance(
            self.job_id, self.holder, progress=progress, text=text, hold_s=HOLD_S
        )
        if not is_ours:
            raise JobCancelled


Handler = Callable[[dict[str, Any], Report], Awaitable[Any]]


class Jobs:
    """One worker of this process does one job at a time; `handlers` are by type."""

    def __init__(
        self, store: JobStore, *, handlers: Mapping[str, Handler], holder: UUID, clock: Clock
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._holder = holder
        self._clock = clock
        self._wanted = asyncio.Event()

    @property
    def types(self) -> list[str]:
        return sorted(self._handlers)

    async def create(
        self, type: str, params: dict[str, Any], *, device_id: str | None, by: Principal
    ) -> str:
        """Queue a job of a known type; returns its id. Raises Busy when too many wait."""
        if await self._store.waiting() >= WAITING_MAX:
            raise Busy("too many jobs are waiting", retry_after_s=10)
        job_id = new_id("job", now_us=self._clock.now_us())
        await self._store.insert(
            job_id, type=type, params=params, device_id=device_id, by=by.key_id
        )
        self._wanted.set()
        log.info("job_queued", job_id=job_id, type=type, by=by.key_id)
        return job_id

    async def show(self, job_id: str, *, by: Principal) -> Job:
        """Raises NotFound."""
        job = await self._store.find(job_id)
        if job is None or not sees_job(by, job):
            raise NotFound(f"there is no job {job_id}")
        return job

    async def page(
        self, wanted: JobFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[Job], int]:
        """A page of what the key may see, newest first and without results, and how many there
        are."""
        visible = replace(wanted, created_by=only_of(by))
        return await self._store.page(visible, limit=limit, offset=offset)

    async def latest(self, type: str, *, device_id: str | None, by: Principal) -> Job:
        """The newest finished job of a type. Raises NotFound."""
        job = await self._store.latest(type, device_id=device_id, created_by=only_of(by))
        if job is None:
            raise NotFound(f"there is no finished job of type {type}")
        return job

    async def cancel(self, job_id: str, *, by: Principal) -> None:
        """End a job that waits or runs: one's own, or any as an administrator.

        Raises NotFound, Forbidden, and Conflict when it is over.
        """
        job = await self.show(job_id, by=by)
        if job.created_by != by.key_id:
            by.require("admin")
        error = {"code": "cancelled", "detail": f"cancelled by {by.key_id}"}
        if not await self._store.cancel(job_id, error=error):
            raise Conflict(f"the job {job_id} is over already", code="job_over")

    # -- doing ----------------------------------------------------------------------------------

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when a job was queued here, or after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    async def do_next(self) -> bool:
        """Do the next job; False when nothing waits."""
        claim = await self._store.claim(self._holder, hold_s=HOLD_S)
        if claim is None:
            return False
        try:
            result = await self._do(claim)
        except JobCancelled:
            log.info("job_cancelled", job_id=claim.job_id)
        except DomainError as error:
            await self._fail(claim, error.error_code, error.detail)
        except Exception:
            log.error("job_failed", job_id=claim.job_id, type=claim.type, exc_info=True)
            await self._fail(
                claim, "internal_error", "the daemon failed to do it; its log says why"
            )
        else:
            await self._store.finish(claim.job_id, self._holder, result=result)
            log.info("job_done", job_id=claim.job_id, type=claim.type)
        return True

    async def _do(self, claim: Claim) -> Any:
        if claim.attempts > ATTEMPTS_MAX:
            raise DomainError("every process that began it died", code="given_up")
        handler = self._handlers.get(claim.type)
        if handler is None:
            raise DomainError(f"nobody here does {claim.type}", code="unknown_type")
        report = Report(self._store, self._clock, claim.job_id, self._holder)
        return await handler(claim.params, report)

    async def _fail(self, claim: Claim, code: str, detail: str) -> None:
        error = {"code": code, "detail": detail}
        await self._store.finish(claim.job_id, self._holder, error=error)
