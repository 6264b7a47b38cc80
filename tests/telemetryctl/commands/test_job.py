"""Jobs that fail or go on, on the command line."""

from __future__ import annotations

import json
from typing import Any

from command_line import CommandLine
from rough_server import answer, rough_server

RUNNING = {"job_id": "job_1", "type": "backtest", "status": "running", "progress": 0.4}
DONE = RUNNING | {"status": "done", "progress": 1.0, "result": {"alerts": []}}


def running() -> bytes:
    return answer("202 Accepted", json.dumps(RUNNING).encode())


def failed(code: str, detail: str) -> bytes:
    body: dict[str, Any] = {
        "status": 500, "code": code, "detail": detail, "job_id": "job_1",
        "type_of_job": "backtest",
    }  # fmt: skip
    return answer(
        "500 Internal Server Error", json.dumps(body).encode(),
        content_type="application/problem+json",
    )  # fmt: skip


def test_a_job_is_waited_for_until_it_is_done(cli: CommandLine) -> None:
    done = answer("200 OK", json.dumps(DONE).encode())
    with rough_server([running(), running(), done]) as server:
        waited = cli.run("job", "wait", "job_1", "-o", "json", "--server", server.url)

    assert (waited.code, json.loads(waited.out)["status"]) == (0, "done")
    assert len(server.requests) == 3


def test_a_job_that_failed_is_exit_5_and_says_why(cli: CommandLine) -> None:
    with rough_server([running(), failed("bad_value", "the rule makes no sense")]) as server:
        waited = cli.run("job", "wait", "job_1", "--server", server.url)
        shown = cli.run("job", "get", "job_1", "-o", "json", "--server", server.url)

    assert (waited.code, waited.out) == (5, "")
    assert "the job job_1 failed\n  the rule makes no sense (bad_value)" in waited.err
    assert (shown.code, shown.err) == (5, "")
    assert json.loads(shown.out)["error"]["code"] == "bad_value"


def test_a_cancelled_job_is_said_to_be_that(cli: CommandLine) -> None:
    with rough_server([failed("cancelled", "cancelled by key_1")]) as server:
        waited = cli.run("job", "wait", "job_1", "--server", server.url)

    assert (waited.code, "was cancelled" in waited.err) == (5, True)


def test_a_job_that_goes_on_is_exit_75(cli: CommandLine) -> None:
    with rough_server([running()]) as server:
        waited = cli.run("job", "wait", "job_1", "--for", "1s", "--server", server.url)

    assert waited.code == 75
    assert "hint: telemetryctl job wait job_1" in waited.err


def test_a_terminal_sees_how_far_it_is(cli: CommandLine) -> None:
    with rough_server([running()]) as server:
        # On a busy machine three seconds may be over before anything is shown.
        for span in ("3s", "10s", "60s"):
            words = ("job", "wait", "job_1", "--for", span, "--server", server.url)
            waited = cli.run_on_terminal(*words)
            if "running" in waited.out:
                break

    assert "[##########..............]  40 % running" in waited.out


def test_a_server_that_fails_itself_is_no_failed_job(cli: CommandLine) -> None:
    with rough_server([answer("500 Internal Server Error", b'{"detail": "oops"}')]) as server:
        waited = cli.run("job", "wait", "job_1", "--server", server.url)

    assert waited.code == 1
