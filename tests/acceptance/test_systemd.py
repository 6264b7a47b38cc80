"""What a service manager sees of a real daemon: its datagrams, its reload, the socket it passes,
and our units."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
MISSING = "systemd-analyze is not installed (apt-get install systemd)"
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=MISSING)
EXPOSURE_MAX = 2.0

pytestmark = pytest.mark.anyio


class Manager:
    """The manager's end of NOTIFY_SOCKET. It takes what comes at once: the kernel keeps but a few
    (man 7 unix), and the daemon does not wait."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[str] = []
        self._come: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while words := self._socket.recv(4096).decode():
            self._come.put(words)

    def wait_for(self, is_so: Callable[[str], object], *, timeout_s: float = 60) -> str:
        """The next datagram of this kind; what came before it is in `told` too."""
        deadline = time.monotonic() + timeout_s
        while True:
            words = self._come.get(timeout=max(0.01, deadline - time.monotonic()))
            self.told.append(words)
            if is_so(words):
                return words

    def forget(self) -> None:
        """Take what has come so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._come.get_nowait()
        self.told.clear()

    def wait_for_silence(self) -> None:
        """Until four words of the status come without a beat. A loop that is only held up for a
        moment is missed too, and heard of again."""
        deadline = time.monotonic() + 60
        while True:
            self.forget()
            for _ in range(4):
                self.wait_for(lambda words: words.startswith("STATUS"))
            if "WATCHDOG=1" not in self.told:
                return
            assert time.monotonic() < deadline, self.told

    def close(self) -> None:
        with (
            contextlib.closing(self._socket),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last,
        ):
            last.sendto(b"", self._socket.getsockname())
            self._thread.join()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    folder = tempfile.mkdtemp(prefix="tlm-notify-")
    name = f"{folder}/notify"
    opened = Manager(name if request.param == "file" else f"@{name}")
    yield opened
    opened.close()
    shutil.rmtree(folder)


def supervised(dsn: str, manager: Manager, *, sabotage: str = "", **settings: Any) -> DaemonProcess:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "600000"}
    return start_daemon(dsn, environment=environment, sabotage=sabotage, **settings)


def says(line: str) -> Callable[[str], bool]:
    return lambda words: line in words.split("\n")


async def test_the_manager_is_told_of_every_step(dsn: str, manager: Manager) -> None:
    daemon = supervised(dsn, manager)
    try:
        manager.wait_for(says("READY=1"))
        is_serving = httpx.get(daemon.url + "/health", timeout=60).status_code
        manager.wait_for(says("WATCHDOG=1"))
        manager.wait_for(lambda words: re.match(r"STATUS=0 points/s, 0 streams", words))
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.process.send_signal(signal.SIGHUP)
        reloading = manager.wait_for(says("RELOADING=1"))
        manager.wait_for(says("READY=1"))
        daemon.process.send_signal(signal.SIGTERM)
        manager.wait_for(says("STOPPING=1"))
        longer = manager.wait_for(lambda words: words.startswith("EXTEND_TIMEOUT_USEC="))
    finally:
        code = daemon.stop()

    assert is_serving == 200
    # Before anything else: while the schema is brought up to date.
    assert manager.told[0] == "EXTEND_TIMEOUT_USEC=60000000"
    assert longer == "EXTEND_TIMEOUT_USEC=105000000"
    assert "READY=1" in manager.told
    assert not [
        words for words in manager.told[: manager.told.index("READY=1")] if "STATUS" in words
    ]
    assert int(reloading.partition("MONOTONIC_USEC=")[2]) >= before_us
    assert code == 0


@pytest.mark.parametrize("manager", ["file"], indirect=True)
async def test_whoever_asks_as_soon_as_it_is_ready_hears_so(dsn: str, manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        daemon = _start_on(held, dsn, NOTIFY_SOCKET=manager.address)
        try:
            manager.wait_for(says("READY=1"))
            with socket.create_connection(held.getsockname()) as asking:
                asking.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = asking.recv(4096)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(40)

    assert answer.startswith(b"HTTP/1.1 200"), answer


async def test_a_database_that_takes_no_writes_is_not_ready(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    first = start_daemon(dsn)
    first.stop()
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("lock table telemetry.journal in share mode")
            second = start_daemon(dsn, home=first.home, wait=False)
            waits = second.wait_for("waiting_for_database")
            is_serving_before = any(line["event"] == "serving" for line in second.log)
        second.wait_for("serving")
    finally:
        await connection.close()
        second.stop()

    assert "telemetryd" not in waits["reason"]
    assert not is_serving_before


@pytest.mark.parametrize("manager", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("sabotage", "name"),
    [
        ("frozen_follower", "follower.run"),
        ("frozen_evaluator", "evaluator.run"),
        ("frozen_hub", "hub.run"),
        ("frozen_keys", "key_uses"),
        ("frozen_notifier", "notifier.run"),
        ("frozen_digests", "notifier.gather"),
        ("frozen_jobs", "job_runner.run"),
        ("frozen_scheduler", "evaluator.ticks"),
    ],
)
async def test_the_watchdog_hears_nothing_while_a_loop_is_frozen(
    dsn: str, manager: Manager, sabotage: str, name: str
) -> None:
    daemon = supervised(dsn, manager, sabotage=sabotage)
    try:
        _until(daemon, lambda: name in _stuck(daemon))
        manager.wait_for_silence()
    finally:
        daemon.kill()

    assert "WATCHDOG=1" not in manager.told


@pytest.mark.parametrize("manager", ["file"], indirect=True)
async def test_children_that_stand_still_are_missed(dsn: str, manager: Manager) -> None:
    daemon = supervised(dsn, manager, sabotage="impatient_parent", server__processes="2")
    try:
        _until_both_serve(daemon)
        children = _children_of(daemon)
        for child in children:
            child.suspend()
        _until(daemon, lambda: _stuck(daemon) >= {"daemon.compactor", "daemon.sibling"})
        manager.wait_for_silence()
        told = list(manager.told)
        for child in children:
            child.resume()
        manager.wait_for(says("WATCHDOG=1"))
    finally:
        daemon.kill()

    assert len(children) == 2
    assert "WATCHDOG=1" not in told


def _children_of(daemon: DaemonProcess) -> list[psutil.Process]:
    """Its compactor and its sibling, once both are there."""
    process = psutil.Process(daemon.process.pid)
    _until(daemon, lambda: len(process.children()) == 2)
    return process.children()


def _stuck(daemon: DaemonProcess) -> set[str]:
    lines = [line["loops"] for line in list(daemon.log) if line["event"] == "loops_stuck"]
    return {name for names in lines for name in names}


async def test_a_signal_for_the_daemon_ends_none_of_its_processes(dsn: str) -> None:
    daemon = start_daemon(dsn, server__processes="2")
    try:
        _until_both_serve(daemon)
        children = _children_of(daemon)
        pids = [*(one.pid for one in children), daemon.process.pid]
        for number in (signal.SIGHUP, signal.SIGUSR2):
            for pid in pids:
                os.kill(pid, number)
            time.sleep(0.2)
        # In turn: lines longer than a pipe takes in one piece would cut each other.
        told = [_asked_where(daemon, pid) for pid in pids][-1]
        _until(daemon, lambda: any("thread 0x" in text.lower() for text in _no_json(daemon)))
        is_well = httpx.get(daemon.url + "/health", timeout=60).status_code
        left = psutil.Process(daemon.process.pid).children()
    finally:
        code = daemon.stop()

    assert "run (follower.py:" in told["stack"]
    assert told["count"] > 10
    assert is_well == 200
    assert {one.pid for one in left} == {one.pid for one in children}
    assert code == 0


def _asked_where(daemon: DaemonProcess, pid: int) -> dict[str, Any]:
    """What the process says of its tasks."""

    def told() -> list[dict[str, Any]]:
        lines = list(daemon.log)
        return [line for line in lines if line["event"] == "tasks" and line["pid"] == pid]

    for _ in range(10):
        # What is said may be cut by a line of another process: then once more.
        os.kill(pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if told():
                return told()[0]
            time.sleep(0.02)
    raise AssertionError(f"{pid} says nothing: {daemon.log}")


def _no_json(daemon: DaemonProcess) -> list[str]:
    return [line["text"] for line in list(daemon.log) if line["event"] == "not_json"]


def _until_both_serve(daemon: DaemonProcess) -> None:
    def serving() -> set[int]:
        return {line["process"] for line in list(daemon.log) if line["event"] == "serving"}

    _until(daemon, lambda: serving() == {1, 2})


def _until(daemon: DaemonProcess, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline, daemon.log
        time.sleep(0.02)


async def test_a_reload_takes_what_can_change_and_names_the_rest(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text('[log]\nlevel = "info"\n')
    named = {"TELEMETRY_CONFIG": str(file)}
    daemon = start_daemon(dsn, environment=named, limits__exempt_networks="[]")
    try:
        file.write_text(
            '[log]\nlevel = "debug"\n[metrics]\nallow = []\n[ingest]\ndevices_max = 7\n'
            "[limits]\nanonymous_per_hour = 3\n[compaction]\npoints = 5\n"
        )
        daemon.process.send_signal(signal.SIGHUP)
        reloaded = daemon.wait_for("config_reloaded")
        compactor = daemon.wait_for("compactor_reloaded")
        later = daemon.wait_for("config_needs_restart")
        closed = httpx.get(daemon.url + "/metrics", timeout=60).status_code
        probe = daemon.wait_for("request")
        limited = httpx.get(f"{daemon.url}/api/v1/telemetry/devices", timeout=60).headers
        file.write_text("[log]\nlevel = 'loud'\n")
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.wait_for("config_not_reloaded")
        still = httpx.get(daemon.url + "/health", timeout=60).status_code
    finally:
        daemon.stop()

    assert reloaded["changed"] == [
        "limits.anonymous_per_hour", "compaction.points", "metrics.allow", "log.level"
    ]  # fmt: skip
    assert (compactor["log_level"], compactor["points"]) == ("debug", 5)
    assert limited["x-ratelimit-limit"] == "3"
    assert later["settings"] == ["ingest.devices_max"]
    assert (closed, probe["level"]) == (401, "debug")
    assert "log.level" in refused["reason"]
    assert still == 200


async def test_a_passed_socket_is_served_and_outlives_the_daemon(dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        for turn in range(2):
            daemon = _start_on(held, dsn)
            try:
                # Also the first request, which came before the daemon.
                answer = httpx.get(url + "/health/live", timeout=60)
            finally:
                daemon.send_signal(signal.SIGTERM)
                code = daemon.wait(40)
            assert (turn, answer.status_code, code) == (turn, 200, 0)


def _start_on(held: socket.socket, dsn: str, **environment: str) -> subprocess.Popen[bytes]:
    """A daemon with `held` as its descriptor 3, as systemd starts it."""
    program = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3, True);"
        "os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    home = tempfile.mkdtemp(prefix="tlmd-")
    environment |= {
        "PATH": os.environ["PATH"], "HOME": home, "LISTEN_FDS": "1",
        "TELEMETRY_DATABASE__URL": dsn, "TELEMETRY_SERVER__PORT": "1",
    }  # fmt: skip
    telemetryd = str(Path(sys.executable).parent / "telemetryd")
    return subprocess.Popen(
        [sys.executable, "-c", program, str(held.fileno()), telemetryd, "serve"],
        pass_fds=[held.fileno()], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


# -- the units ---------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Our units, with the program where it is here."""
    for file in UNITS.iterdir():
        program = str(Path(sys.executable).parent / "telemetryd")
        text = file.read_text().replace("/opt/telemetry/bin/telemetryd", program)
        (tmp_path / file.name).write_text(text)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize(
    "unit", ["telemetryd.service", "telemetryd@one.service", "telemetryd.socket"]
)
def test_systemd_understands_the_units(units: Path, unit: str) -> None:
    if "@" in unit:
        (units / unit).write_text((units / "telemetryd@.service").read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", units / unit],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip

    assert [line for line in done.stderr.splitlines() if "telemetryd" in line] == []
    assert done.returncode == 0, done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", ["telemetryd.service", "telemetryd@.service"])
def test_the_units_are_hardened(units: Path, unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}",
         "--no-pager", units / unit],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@needs_systemd
def test_what_the_door_inside_needs_costs_as_much_as_its_page_says(units: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
    drop_in = page.partition("[Service]\n")[2].partition("```")[0]
    unit = units / "telemetryd.service"
    before = exposure_of(unit)
    unit.write_text(unit.read_text().replace("[Install]", f"{drop_in}\n[Install]"))
    after = exposure_of(unit)

    assert f"then says {after - before:.1f} more" in page
    assert after <= EXPOSURE_MAX


def exposure_of(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    return float(done.stdout.rpartition("telemetryd.service: ")[2].split()[0])


def test_the_template_is_the_unit_with_a_name() -> None:
    one = (UNITS / "telemetryd.service").read_text().splitlines()[1:]
    template = (UNITS / "telemetryd@.service").read_text().splitlines()[1:]

    assert len(one) == len(template)
    differ = {a.partition("=")[0] for a, b in zip(one, template, strict=True) if a != b}
    assert differ == {
        "Description", "ExecStart", "Environment", "EnvironmentFile", "StateDirectory",
        "RuntimeDirectory",
    }  # fmt: skip
