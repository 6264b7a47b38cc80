"""The endpoints of jobs, and of the backtest that is one."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, segment
from telemetryctl.client.errors import ServerProblem
from telemetryctl.client.wire import Document


class JobCalls(Calls):
    """One method for each endpoint, as those of client/http."""

    def list_jobs(self, **filters: Any) -> Document:
        """GET /jobs with `type, status, limit`."""
        return self._get("/jobs", params=filters)

    def get_job(self, job_id: str) -> Document:
        """GET /jobs/{job_id}; a failed job is an answer, too: its status says so."""
        try:
            return self._get(f"/jobs/{segment(job_id)}")
        except ServerProblem as problem:
            if problem.status == 500 and problem.problem.get("job_id") == job_id:
                return {
                    "job_id": job_id,
                    "type": problem.problem.get("type_of_job"),
                    "status": "failed",
                    "error": {"code": problem.code, "detail": problem.detail},
                }
            raise

    def cancel_job(self, job_id: str) -> Document:
        """DELETE /jobs/{job_id}."""
        return self._send("DELETE", f"/jobs/{segment(job_id)}")

    def backtest_rule(self, asked: Mapping[str, Any]) -> Document:
        """POST /alerts/rules/backtest with `rule` or `rule_id`; the answer names the job.

        A second job of the same does no harm, so it may be sent again.
        """
        return self._post("/alerts/rules/backtest", body=asked)
