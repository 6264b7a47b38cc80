"""The demo: it shows real buses, ends when told, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(600)
DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A place for the scratch folder that the user PostgreSQL runs as can reach."""
    with tempfile.TemporaryDirectory(prefix="tlmdemo-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        yield folder


@contextmanager
def demo(scratch: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, DEMO],
        env=kept | {"HOME": str(scratch / "home"), "TMPDIR": str(scratch)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def left_behind(scratch: Path) -> list[str]:
    """Files below the folder, and processes that name it in their command or settings."""
    files = [str(path) for path in scratch.rglob("*") if path != scratch / "home"]
    processes = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if str(scratch) in " ".join([*command, *process.environ().values()]):
                processes.append(f"process {' '.join(command)}")
        except (psutil.Error, OSError):
            continue
    return files + processes


def left_behind_in_the_end(scratch: Path, *, within_s: float = 60) -> list[str]:
    """The same, once what was killed has had the time to end."""
    deadline = time.monotonic() + within_s
    while (found := left_behind(scratch)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def seen_by_tail(text: str) -> list[str]:
    return re.findall(r"^\S+Z\t\d+\tspeed\t", text, re.MULTILINE)


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def test_the_demo_shows_buses_and_ends_after_its_duration(scratch: Path) -> None:
    # A busy machine may need the shorter time for the start alone.
    for duration in ("15s", "90s"):
        with demo(scratch, DURATION=duration) as process:
            out, err = process.communicate(timeout=240)
        assert (process.returncode, err) == (0, "")
        counts = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) points of", out)]
        if counts and counts[-1] > 1000 and len(seen_by_tail(out)) > 20 and " is 4" in out:
            break

    assert counts == sorted(counts)
    assert counts[-1] > 1000
    assert re.search(r"bus \d+ went [\d.]+ mph", out)
    assert re.search(r"[1-9]\d* alerts, \d+ of them active", out)
    assert re.search(r"speeding: speed of \d+ is 4\d", out)
    table, tail = out.split("and now: telemetryctl tail")
    assert "\tspeed\t" not in table
    assert len(seen_by_tail(tail)) > 20
    assert left_behind_in_the_end(scratch) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stops_at_once_and_leaves_nothing(scratch: Path, stop: signal.Signals) -> None:
    with demo(scratch) as process:
        wait_for_line(process, r"points of [1-9]")
        process.send_signal(stop)
        process.communicate(timeout=60)

    assert process.returncode == 0
    assert left_behind_in_the_end(scratch) == []


def test_no_process_outlives_a_demo_that_was_killed(scratch: Path) -> None:
    with demo(scratch) as process:
        wait_for_line(process, r"points of [1-9]")
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    processes = ["not looked yet"]

    while time.monotonic() < deadline:
        processes = [name for name in left_behind(scratch) if name.startswith("process")]
        if not processes:
            break
        time.sleep(0.1)

    assert processes == []
