"""One line for each request, without secrets."""

from __future__ import annotations

import pytest
from control import API, Control
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio


async def test_a_request_is_one_line_with_its_id_and_status(control: Control) -> None:
    with capture_logs() as lines:
        await control.client.get(
            f"{API}/metrics/none?token=hunter2", headers={"X-Request-ID": "r-7"}
        )

    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["log_level"] == "info"
    assert (line["method"], line["path"], line["status"]) == ("GET", f"{API}/metrics/none", 404)
    assert line["request_id"] == "r-7"
    assert line["principal"].startswith("key_")
    assert line["duration_ms"] >= 0
    assert "hunter2" not in str(lines)
    assert control.token not in str(lines)


async def test_a_probe_is_no_line_at_info_and_not_counted(control: Control) -> None:
    with capture_logs() as lines:
        await control.client.get("/health")

    assert [line["log_level"] for line in lines if line["event"] == "request"] == ["debug"]
    assert control.services.traffic.requests_total == 0


async def test_requests_are_counted_for_the_statistics(control: Control) -> None:
    await control.client.get(f"{API}/metrics")
    await control.client.get(f"{API}/metrics")

    assert control.services.traffic.requests_total == 2
