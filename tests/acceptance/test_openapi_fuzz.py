"""schemathesis over every operation, with a key and without one: the document says what is served,
and nothing that is sent reaches PostgreSQL unchecked.

`FUZZ_EXAMPLES=200` runs longer and at random; what it finds is repeated with `FUZZ_SEED`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer

pytestmark = pytest.mark.timeout(900)

FUZZ = Path(__file__).parents[1] / "fuzz"
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "")
PARTS = (
    ("ingest", "reading", "streams"),
    ("rules", "jobs", "metrics"),
    ("alerts", "explanations", "notifications", "silences", "watches", "channels"),
    ("devices", "groups", "stats", "events"),
    ("keys", "accounts", "auth", "admin", "health"),
)


@pytest.fixture(scope="module")
def target(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A daemon that limits nobody: thousands of requests come from one address."""
    daemon = start_daemon(
        asyncio.run(fresh_database(postgres)),
        limits__anonymous_per_hour="0",
        limits__refused_per_hour="0",
    )
    yield daemon
    daemon.stop()


def schemathesis(
    tmp_path: Path, document: str, *arguments: str, key: str = "", job_id: str = ""
) -> subprocess.CompletedProcess[str]:
    """`st run` with all checks, in a folder of its own, where it keeps what it finds."""
    how_many = ["--generation-deterministic", "-n", "5"]
    if EXAMPLES:
        seed = os.environ.get("FUZZ_SEED")
        how_many = ["-n", EXAMPLES, *(["--seed", seed] if seed else [])]
    header = ["-H", f"Authorization: Bearer {key}"] if key else []
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SCHEMATHESIS_HOOKS": str(FUZZ / "hooks.py"),
        "FUZZ_KEY_ID": f"key_{key.split('_')[2]}" if key else "",
        "FUZZ_JOB_ID": job_id,
    }
    program = [
        str(Path(sys.executable).parent / "st"),
        "--config-file",
        str(FUZZ / "schemathesis.toml"),
    ]
    return subprocess.run(
        [*program, "run", document, "--checks", "all", "--no-color", *header, *how_many,
         *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def a_finished_job(target: DaemonProcess) -> str:
    """A made-up id is hardly ever that of a job."""
    rule = {"name": "r", "metric_name": "m", "condition": ">", "threshold_value": 1}
    times = {"start_time": "2025-12-18T10:00:00Z", "end_time": "2025-12-18T11:00:00Z"}
    with target.http() as http:
        queued = http.post("/alerts/rules/backtest", json={"rule": rule, **times})
        path = target.url + queued.json()["status_url"]
        while (shown := http.get(path)).status_code == 202:
            time.sleep(0.05)
        assert shown.status_code == 200, shown.text
    return str(shown.json()["job_id"])


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed run says, without its head."""
    text = done.stdout + done.stderr
    return text[max(0, text.find("FAILURES")) :][-20_000:]


def document_of(target: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{target.url}/api/openapi.json", timeout=60).json()
    return found


def test_every_operation_is_in_one_part(target: DaemonProcess) -> None:
    paths = document_of(target)["paths"].values()
    tags = {tag for methods in paths for o in methods.values() for tag in o["tags"]}

    assert tags == {tag for part in PARTS for tag in part}


@pytest.mark.parametrize("tags", PARTS, ids=lambda tags: tags[0])
def test_what_is_sent_with_a_key_is_answered_as_the_document_says(
    target: DaemonProcess, postgres: PostgresServer, tmp_path: Path, tags: tuple[str, ...]
) -> None:
    since = len(postgres.log)
    chosen = [part for tag in tags for part in ("--include-tag", tag)]
    phases = "examples,coverage,fuzzing" + (",stateful" if EXAMPLES else "")
    done = schemathesis(
        tmp_path, f"{target.url}/api/openapi.json", "--phases", phases, *chosen, key=target.key,
        job_id=a_finished_job(target),
    )  # fmt: skip

    assert done.returncode == 0, said(done)
    assert_nothing_reached_the_database(target, postgres, since=since)


def test_what_is_sent_without_a_key_is_refused(
    target: DaemonProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    since = len(postgres.log)
    document = f"{target.url}/api/openapi.json"
    done = schemathesis(tmp_path, document, "--phases", "examples,coverage,fuzzing")

    assert done.returncode == 0, said(done)
    assert_nothing_reached_the_database(target, postgres, since=since)


def test_a_document_that_says_something_else_is_noticed(
    target: DaemonProcess, tmp_path: Path
) -> None:
    document = document_of(target)
    document["components"]["schemas"]["Health"]["required"].append("mood")
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(document))

    done = schemathesis(
        tmp_path, str(file), "--url", target.url, "--include-operation-id", "health"
    )

    assert done.returncode == 1, said(done)
    assert "mood" in done.stdout


def assert_nothing_reached_the_database(
    target: DaemonProcess, postgres: PostgresServer, *, since: int
) -> None:
    """No error of class 22 (data) or 42 (syntax, names, rights), and nothing that surprised us."""
    errors = re.findall(r"ERROR:  (?:22|42)\w{3}: .*", postgres.log[since:])
    surprises = [line for line in target.log if line["event"] in SURPRISES]

    assert errors == []
    assert surprises == []


SURPRISES = {"request_failed", "value_refused_by_database", "not_json"}
