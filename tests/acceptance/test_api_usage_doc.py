"""docs/api-usage.md: its commands and programs run in order, and say what the text says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from daemons import DaemonProcess
from documents import MISSING, ROOT, blocks, run, run_shell, text_of
from rough_server import answer, rough_server
from stream_proxies import stream_proxy

DOC = "docs/api-usage.md"
pytestmark = pytest.mark.timeout(600)
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason=f"Node {MISSING}")
BUSY = answer(
    "503 Service Unavailable",
    b'{"code": "busy", "detail": "Too much is waiting already.", "retry_after": 0.01}',
    content_type="application/problem+json",
)
STORED = answer("200 OK", b'{"success": true, "errors": []}')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader has copied the two clients to."""
    made = tmp_path_factory.mktemp("usage")
    for client in ("python/telemetry.py", "javascript/telemetry.mjs"):
        shutil.copy(ROOT / "examples" / client, made)
    return made


@pytest.fixture(scope="module")
def shown(daemon: DaemonProcess, folder: Path) -> str:
    """What the shell blocks print; the last line is the key, for the programs."""
    script = "\n".join([*blocks(DOC, "sh"), 'echo "key $TELEMETRY_KEY"'])
    return run_shell("exec 2>&1\n" + script, daemon=daemon, folder=folder)


@pytest.fixture(scope="module")
def environ(daemon: DaemonProcess, shown: str) -> dict[str, str]:
    return {"URL": daemon.url, "TELEMETRY_KEY": shown.split()[-1]}


@pytest.mark.parametrize(
    "said",
    [
        '"metric_name":"pressure","value":2.4', '"ingested_count":1,"failed_count":1',
        '"duplicate":true', '"code":"malformed"', "exit 22", '"code":"forbidden"',
        '"code":"signature_required"', "exit 22: not signed", "boiler_1\tpressure\t2.5",
    ],
)  # fmt: skip
def test_the_commands_do_what_the_text_says(shown: str, said: str) -> None:
    assert said in shown, shown


def test_the_python_programs_run(
    daemon: DaemonProcess, folder: Path, environ: dict[str, str]
) -> None:
    plain, with_httpx, signed = (
        run(sys.executable, "-c", program, daemon=daemon, folder=folder, environ=environ)
        for program in blocks(DOC, "python")
    )

    assert "refused: bad_timestamp {'timestamp': 'yesterday'" in plain
    assert re.search(r"Z boiler_2 2\.1\n", plain)
    assert "the end before the beginning: 4" in plain
    assert re.match(r"2\.1 bar \d+ s old\n404 not_found request ", with_httpx)
    assert signed.splitlines() == ["True", "422 too_old", "401 signature_required"]


@needs_node
def test_the_javascript_programs_run(
    daemon: DaemonProcess, folder: Path, environ: dict[str, str]
) -> None:
    said = []
    for number, program in enumerate(blocks(DOC, "js")):
        (folder / f"{number}.mjs").write_text(program)
        said.append(run("node", f"{number}.mjs", daemon=daemon, folder=folder, environ=environ))

    assert said[0].splitlines() == [
        said[0].splitlines()[0], "boiler_3 2.3", "no such device: 404 unknown_device"
    ]  # fmt: skip
    assert said[0].startswith("refused: bad_name ")
    assert said[1] == "stored: boiler_4 2.6 true\n"


SEND = {
    "python": "import sys; from telemetry import *; "
    "print(Telemetry(sys.argv[1], 'k').send('d', [{'value': 1}]))",
    "js": "import('./telemetry.mjs').then(({ Telemetry }) => "
    "new Telemetry(process.argv[1], 'k').send('d', [{ value: 1 }]).then(console.log))",
}


@pytest.mark.parametrize("language", ["python", pytest.param("js", marks=needs_node)])
def test_a_busy_daemon_gets_the_same_batch_again(folder: Path, language: str) -> None:
    program = [sys.executable, "-c"] if language == "python" else ["node", "-e"]
    with rough_server([BUSY, lambda connection: connection.close(), STORED]) as server:
        done = subprocess.run(
            [*program, SEND[language], server.url],
            cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    ids = {json.loads(request.partition(b"\r\n\r\n")[2])["batch_id"] for request in server.requests}
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert (len(server.requests), len(ids)) == (2, 1)


@needs_node
def test_following_in_javascript_survives_a_break(
    daemon: DaemonProcess, folder: Path, environ: dict[str, str]
) -> None:
    script = (
        "import { Telemetry } from './telemetry.mjs';\n"
        "const t = new Telemetry(process.env.URL, process.env.TELEMETRY_KEY);\n"
        "const { cursor } = await t.call('GET', '/changes?after=now&limit=1');\n"
        "console.log('begun');\n"
        "for await (const { point } of t.follow({ device_ids: 'f' }, { cursor })) {\n"
        "  console.log(point.value); if (point.value === 4) break; }\n"
    )
    (folder / "follow.mjs").write_text(script)
    with stream_proxy(daemon.url) as proxy, daemon.http() as http, ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                ["node", "follow.mjs"], cwd=folder, stdout=subprocess.PIPE, text=True,
                env=daemon.environment | environ | {"URL": proxy.url},
            )
        )  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for value in range(5):
            if value == 2:
                proxy.cut()
            point = {"timestamp": time.time(), "metric_name": "m", "value": value}
            assert http.post("/devices/f/telemetry", json=point).status_code == 200
            if value == 1:
                lines += [process.stdout.readline(), process.stdout.readline()]
        lines += process.stdout.readlines()
        process.wait(60)

    assert [line.strip() for line in lines] == ["begun", "0", "1", "2", "3", "4"]


def test_every_code_of_the_text_is_one_of_the_daemon() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py"))
    table = text_of(DOC).partition("## When it says no")[2].partition("## Limits")[0]
    codes = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", table))

    assert len(codes) > 20
    assert {code for code in codes if f'"{code}"' not in source} == set()
