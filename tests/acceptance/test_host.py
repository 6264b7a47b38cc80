"""The daemon as deploy/install.sh puts it on a host, under a real systemd with all that its unit
forbids it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hosts import ROOT, Host, a_host

pytestmark = pytest.mark.timeout(600)

UNIT = "telemetryd.service"
SETTINGS = "/etc/telemetry/telemetry.toml"
SETTINGS_TEXT = """\
[log]
level = "info"
[server]
port = 8218
[compaction]
age = "1s"
points = 1
[metrics]
own_every = "0s"
"""
SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8218/metrics").read().decode())
"""
SENDER = """
import json, sys, time, urllib.request
from datetime import UTC, datetime
url, key, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
sent = failed = 0
end_s = time.monotonic() + seconds
while time.monotonic() < end_s:
    point = {"timestamp": datetime.now(UTC).isoformat(), "metric_name": "m", "value": sent}
    asked = urllib.request.Request(url, json.dumps(point).encode())
    asked.add_header("Authorization", f"Bearer {key}")
    asked.add_header("Content-Type", "application/json")
    try:
        urllib.request.urlopen(asked, timeout=60).read()
        sent += 1
    except OSError:
        failed += 1
print(json.dumps([sent, failed]))
"""
"""A sender that opens a connection for each point: how many were stored, and how many not."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """With the daemon installed from this checkout, as README says."""
    with a_host() as host:
        install(host)
        write_file(host, SETTINGS, SETTINGS_TEXT)
        yield host


def install(host: Host) -> None:
    """Packages come over the machine's network, which the host itself does not have."""
    script = ROOT / "deploy/install.sh"
    done = host.run("env", "PYTHON=/usr/bin/python3", "sh", script, is_online=True, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def running(host: Host) -> Host:
    """The host while its daemon serves."""
    host.says("systemctl", "start", UNIT)
    return host


def write_file(host: Host, path: str, text: str) -> None:
    host.says("sh", "-c", f"mkdir -p $(dirname {path}) && cat >{path} <<'END'\n{text}END")


def shown(host: Host, name: str, *, unit: str = UNIT) -> str:
    """A property of the unit."""
    return host.says("systemctl", "show", "--property", name, "--value", unit)


def ours(host: Host, *command: str) -> str:
    """What telemetryctl says to who administers the host."""
    return host.says("as-telemetry", "telemetryctl", *command)


def count_of(host: Host, device: str) -> int:
    return int(json.loads(ours(host, "device", "stats", device, "-o", "json"))["data_points_count"])


def figure(host: Host, name: str) -> float:
    """As a monitor on the host reads it."""
    (value,) = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", host.says("python3", "-c", SCRAPE), re.M)
    return float(value)


def events_of(host: Host, *, unit: str = UNIT) -> list[dict[str, Any]]:
    lines = host.log_of(unit).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_every_process_of_the_unit_works(running: Host) -> None:
    ours(running, "write", "d1", "m=1")
    running.until(
        lambda: figure(running, "telemetry_compaction_behind_entries") == 0, what="compaction"
    )
    compactor = running.says("pgrep", "-f", "daemon.compactor")
    log = running.log_of(UNIT)

    assert count_of(running, "d1") == 1
    assert running.says("ps", "-o", "ni=", "-p", compactor) == "10"
    assert [e for e in events_of(running) if e["level"] not in ("info", "debug")] == []
    assert [line for line in log.splitlines() if "Traceback" in line or "mode is" in line] == []


def test_a_daemon_that_is_killed_comes_back_with_all_it_took(running: Host) -> None:
    ours(running, "write", "killed", "m=1")
    before, pid = shown(running, "NRestarts"), shown(running, "MainPID")
    running.says("kill", "-KILL", pid)
    running.until(lambda: shown(running, "NRestarts") != before, what="restart")
    running.until(lambda: shown(running, "ActiveState") == "active", what="daemon")

    assert count_of(running, "killed") == 1


def test_a_daemon_that_stands_still_is_replaced(running: Host) -> None:
    drop_in = f"/etc/systemd/system/{UNIT}.d/patience.conf"
    write_file(running, drop_in, "[Service]\nWatchdogSec=8s\n")
    running.says("systemctl", "daemon-reload")
    running.says("systemctl", "restart", UNIT)
    pid = shown(running, "MainPID")
    running.says("kill", "-STOP", pid)
    running.until(lambda: shown(running, "MainPID") not in (pid, "0"), what="successor")
    running.until(lambda: shown(running, "ActiveState") == "active", what="daemon")
    running.says("rm", drop_in)
    running.says("systemctl", "daemon-reload")

    assert "Failed with result 'watchdog'" in running.log_of(UNIT)


def test_a_reload_reaches_the_processes(running: Host) -> None:
    write_file(running, SETTINGS, SETTINGS_TEXT.replace('"info"', '"debug"'))
    before = len(events_of(running))
    running.says("systemctl", "reload", UNIT)
    running.until(
        lambda: (
            {"config_reloaded", "compactor_reloaded"}
            <= {event["event"] for event in events_of(running)[before:]}
        ),
        what="reload",
    )
    write_file(running, SETTINGS, SETTINGS_TEXT)

    assert shown(running, "ActiveState") == "active"


def test_a_stop_is_clean_and_leaves_nothing(running: Host) -> None:
    before = len(running.log_of(UNIT))
    running.says("systemctl", "stop", UNIT)

    assert (shown(running, "Result"), shown(running, "ExecMainStatus")) == ("success", "0")
    assert "SIGKILL" not in running.log_of(UNIT)[before:]
    assert running.run("pgrep", "-u", "telemetry").stdout == ""


def test_no_sender_notices_a_restart_behind_the_socket(host: Host) -> None:
    host.says("systemctl", "stop", UNIT)
    host.says("systemctl", "start", "telemetryd.socket")
    host.says("systemctl", "start", UNIT)
    made = ours(host, "key", "create", "s", "--scope", "ingest", "--tier", "enterprise", "-ojson")
    url = "http://127.0.0.1:8218/api/v1/telemetry/devices/sender/telemetry"
    with ThreadPoolExecutor() as threads:
        sending = threads.submit(
            host.says, "python3", "-c", SENDER, url, json.loads(made)["key"], "8"
        )
        time.sleep(2)
        host.says("systemctl", "restart", UNIT)
        sent, failed = json.loads(sending.result())
    count = count_of(host, "sender")
    host.says("systemctl", "stop", "telemetryd.socket", UNIT)

    assert failed == 0
    assert count == sent > 0


def test_an_upgrade_starts_the_new_program_with_the_old_data(running: Host) -> None:
    ours(running, "write", "upgraded", "m=1")
    before = shown(running, "MainPID")
    install(running)

    assert shown(running, "ActiveState") == "active"
    assert shown(running, "MainPID") != before
    assert running.says("cat", SETTINGS) == SETTINGS_TEXT.strip()
    assert count_of(running, "upgraded") == 1


def test_a_second_instance_has_its_own_settings_and_data(running: Host) -> None:
    write_file(running, "/etc/telemetry/two.toml", SETTINGS_TEXT.replace("8218", "8300"))
    running.says("chgrp", "telemetry", "/etc/telemetry/two.toml")
    running.says("systemctl", "start", "telemetryd@two")
    urls = [event["url"] for event in events_of(running, unit="telemetryd@two") if "url" in event]
    folders = running.says("ls", "/var/lib")
    running.says("systemctl", "stop", "telemetryd@two")

    assert urls == ["http://127.0.0.1:8300"]
    assert {"telemetry", "telemetry-two"} <= set(folders.split())
    assert shown(running, "ActiveState") == "active"
