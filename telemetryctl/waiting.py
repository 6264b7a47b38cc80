"""Waiting for a job: how far it is on stderr, its result or why there is none."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from telemetryctl.failures import Refused, TryLater
from telemetryctl.output.progress import Progress

if TYPE_CHECKING:
    from telemetryctl.client.http import Client
    from telemetryctl.output.console import Console

FIRST_PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
Document = dict[str, Any]


def wait_for_job(
    client: Client, job_id: str, *, console: Console, at_most: timedelta | None = None
) -> Document:
    """Return the job when it is done.

    Raises Refused when it failed or was cancelled, and TryLater when it goes on after `at_most`.
    """
    progress = Progress(console)
    pause_s = FIRST_PAUSE_S
    try:
        while (job := client.get_job(job_id))["status"] not in ("done", "failed"):
            left_s = None if at_most is None else at_most.total_seconds() - progress.elapsed_s
            if left_s is not None and left_s <= 0:
                raise TryLater(
                    f"the job {job_id} is still {job['status']}",
                    hint=f"telemetryctl job wait {job_id}",
                )
            told = job.get("progress_text") or job["status"]
            progress.update(str(told), fraction=float(job["progress"]))
            time.sleep(pause_s if left_s is None else min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)
    finally:
        progress.clear()
    if job["status"] == "failed":
        raise failure_of(job)
    return job


def failure_of(job: Document) -> Refused:
    """What to tell of a job that failed."""
    error = job.get("error") or {}
    code = str(error.get("code") or "job_failed")
    verb = "was cancelled" if code == "cancelled" else "failed"
    return Refused(
        f"the job {job['job_id']} {verb}", why=f"{error.get('detail', 'nobody knows why')} ({code})"
    )
