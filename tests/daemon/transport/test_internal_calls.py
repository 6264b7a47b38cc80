"""X-Internal-Call, however it is spelled, changes no answer."""

from __future__ import annotations

import pytest
from control import Control, bearer
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio

SPELLINGS = (
    [("X-Internal-Call", "true")],
    [("x-internal-call", "TRUE"), ("X-INTERNAL-CALL", "true")],
    [("X_Internal_Call", "1"), ("X-Internal-Service", "billing"), ("X-Internal-Token", "x" * 40)],
    [("X-Internal-Call", "true"), ("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")],
    [("X-Internal-Call", "")],
)


async def test_no_answer_depends_on_it(control: Control) -> None:
    document = (await control.client.get("/api/openapi.json")).json()
    tokens = {"": "", "read": await control.key("read"), "none": "tlm_live_x"}
    for path, methods in document["paths"].items():
        if path.endswith(("/telemetry", "/batch", "/bulk", "/columns", "/stream/{channel}")):
            continue
        for method in methods:
            for token in tokens.values():
                plain = await status(control, method, path, token, [])
                for spelling in SPELLINGS:
                    said = await status(control, method, path, token, spelling)
                    assert said == plain, f"{method} {path} {spelling}"


async def status(
    control: Control, method: str, path: str, token: str, more: list[tuple[str, str]]
) -> int:
    headers = [*bearer(token).items(), *more]
    at = path.replace("{", "").replace("}", "")
    answer = await control.client.request(method, at, headers=headers, content=b"{")
    return answer.status_code


async def test_it_is_logged_once_a_minute(control: Control) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            await control.client.get("/health", headers={"X-Internal-Call": "true"})
        control.clock.advance_s(61)
        await control.client.get("/health", headers={"X-Internal-Call": "true"})

    said = [line for line in lines if line["event"] == "internal_call_ignored"]
    assert [line["ignored"] for line in said] == [1, 4]
