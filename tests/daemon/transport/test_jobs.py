"""The list of jobs: pages of what a key may see."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio
ASKED = {
    "rule": {"metric_name": "temperature", "condition": ">", "threshold_value": 30},
    "start_time": "2025-12-01T00:00:00Z",
    "end_time": "2025-12-02T00:00:00Z",
}


async def a_job(control: Control, token: str) -> str:
    answer = await control.client.post(
        f"{API}/alerts/rules/backtest", json=ASKED, headers=bearer(token)
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


async def jobs(control: Control, token: str, **params: Any) -> dict[str, Any]:
    answer = await control.client.get(f"{API}/jobs", params=params, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids_in(page: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in page["jobs"]]


async def test_jobs_come_in_pages_newest_first(control: Control) -> None:
    made = [await a_job(control, control.token) for _ in range(3)]

    first = await jobs(control, control.token, limit=2, type="backtest")
    second = await jobs(control, control.token, limit=2, offset=2, status="queued")

    assert ids_in(first) + ids_in(second) == made[::-1]
    about = {"count": 2, "total": 3, "filters": {"type": "backtest"}, "limit": 2, "offset": 0}
    assert first == first | about
    assert (second["count"], second["total"], second["filters"]) == (1, 3, {"status": "queued"})


async def test_a_page_holds_the_own_jobs_of_a_bound_key_however_many_others_there_are(
    control: Control,
) -> None:
    token = await control.key("read", devices=("bolt-*",))
    own = await a_job(control, token)
    for _ in range(3):
        await a_job(control, control.token)

    page = await jobs(control, token, limit=2)

    assert (ids_in(page), page["total"]) == ([own], 1)
    assert (await jobs(control, control.token))["total"] == 4


async def test_the_latest_of_a_bound_key_is_its_own_newest(control: Control) -> None:
    token = await control.key("read", devices=("bolt-*",))
    own = await a_job(control, token)
    assert await control.services.jobs.do_next()
    for _ in range(51):
        await a_job(control, control.token)
        assert await control.services.jobs.do_next()

    answer = await control.client.get(f"{API}/jobs/latest?type=backtest", headers=bearer(token))

    assert answer.json()["job_id"] == own
