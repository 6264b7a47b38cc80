"""Does jobs of this process and of those that died, one at a time."""

from __future__ import annotations

import asyncio

from daemon.domain.errors import TryLater
from daemon.log import get_logger
from daemon.service.jobs import Jobs

POLL_S = 1.0
RETRY_S = 2.0

log = get_logger()


async def run(jobs: Jobs) -> None:
    """Work until cancelled; a job under way then is taken by another process."""
    while True:
        try:
            while await jobs.do_next():
                pass
            await jobs.wait_for_work(POLL_S)
        except TryLater as error:
            log.warning("jobs_wait", code=error.error_code)
            await asyncio.sleep(RETRY_S)
        except Exception:
            log.error("job_runner_failed", exc_info=True)
            await asyncio.sleep(RETRY_S)
