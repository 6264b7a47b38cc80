"""The daemon as deploy/install.sh puts it on a host, under a real systemd with all that its unit
forbids it."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from hosts import ROOT, Host, a_host

# An installation asks the package index, which may be far away.
pytestmark = pytest.mark.timeout(900)

UNIT = "telemetryd.service"
SETTINGS = "/etc/telemetry/telemetry.toml"
URL = "http://127.0.0.1:8218"
RUNBOOK = (ROOT / "docs/operations.md").read_text()
EXPORTS = (ROOT / "docs/how-to/cron-exports.md").read_text()
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
INTERNAL = """\
[auth.internal]
mode = "socket"
socket = "/run/telemetry/internal.sock"
group = "telemetry-services"
uids = [{uid}]
[[auth.internal.services]]
name = "billing"
scopes = ["read"]
tier = "pro"
"""
CALL_INSIDE = """
import http.client, socket
connection = http.client.HTTPConnection("inside")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/telemetry/internal.sock")
internal = {"X-Internal-Call": "true", "X-Internal-Service": "billing"}
connection.request("GET", "/auth/whoami", headers=internal)
print(connection.getresponse().read().decode())
"""
PASSWORD = "correct horse battery"
LOG_IN = """
import json, sys, urllib.request
said = json.dumps({"username": sys.argv[1], "password": sys.argv[2]}).encode()
asked = urllib.request.Request("http://127.0.0.1:8218/auth/login", said)
asked.add_header("Content-Type", "application/json")
print(json.load(urllib.request.urlopen(asked))["access_token"])
"""
CONTAIN = """\
set -e
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /etc/telemetry
mkdir -p /var/lib/telemetry
mount -t tmpfs -o uid={user},mode=0700 tmpfs /var/lib/telemetry
mount -o remount,bind,ro /
exec setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all --no-new-privs \
  env -i {settings} telemetryd serve
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
    """Of whole lines."""
    assert text.endswith("\n")
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


def is_compacted(host: Host) -> bool:
    """Whether all that the daemon has followed of its journal is in chunks."""
    followed = figure(host, "telemetry_journal_position_total")
    return followed > 1 and figure(host, "telemetry_compaction_behind_entries") == 0


def niceness_of_compactor(host: Host) -> str:
    pid = host.says("pgrep", "--full", "daemon.compactor")
    return host.says("ps", "-o", "ni=", "-p", pid)


@contextmanager
def dropped_in(host: Host, text: str, *, settings: str = SETTINGS_TEXT) -> Iterator[None]:
    """The daemon runs with this drop-in until the end of the block; then it is stopped."""
    file = f"/etc/systemd/system/{UNIT}.d/ours.conf"
    write_file(host, SETTINGS, settings)
    write_file(host, file, text)
    host.says("systemctl", "daemon-reload")
    try:
        host.says("systemctl", "restart", UNIT)
        yield
    finally:
        host.says("systemctl", "stop", UNIT)
        write_file(host, SETTINGS, SETTINGS_TEXT)
        host.says("rm", file)
        host.says("systemctl", "daemon-reload")


def test_a_host_that_does_not_boot_skips_and_leaves_nothing() -> None:
    folder = Path(tempfile.gettempdir())
    before = set(folder.glob("tlmhost-*"))
    with pytest.raises(pytest.skip.Exception), a_host(Path("/bin/false")):
        pytest.fail("it has booted")

    assert set(folder.glob("tlmhost-*")) == before


def test_every_process_of_the_unit_works(running: Host) -> None:
    ours(running, "write", "d1", "m=1")
    running.until(lambda: is_compacted(running), what="compaction")
    running.until(lambda: niceness_of_compactor(running) == "10", what="niceness")
    lines = running.log_of(UNIT).splitlines()
    wrong = ("child_died", "child_silent", "service_manager_not_told", "Traceback", "mode is")

    assert count_of(running, "d1") == 1
    assert [line for line in lines if any(word in line for word in wrong)] == []


def test_a_daemon_that_is_killed_comes_back_with_all_it_took(running: Host) -> None:
    ours(running, "write", "killed", "m=1")
    before, pid = shown(running, "NRestarts"), shown(running, "MainPID")
    running.says("kill", "-KILL", pid)
    running.until(lambda: shown(running, "NRestarts") != before, what="restart")
    running.until(lambda: shown(running, "ActiveState") == "active", what="daemon")

    assert count_of(running, "killed") == 1


def test_a_daemon_that_stands_still_is_replaced(running: Host) -> None:
    with dropped_in(running, "[Service]\nWatchdogSec=8s\n"):
        pid = shown(running, "MainPID")
        running.says("kill", "-STOP", pid)
        running.until(lambda: shown(running, "MainPID") not in (pid, "0"), what="successor")
        running.until(lambda: shown(running, "ActiveState") == "active", what="daemon")

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
    url = f"{URL}/api/v1/telemetry/devices/sender/telemetry"
    with ThreadPoolExecutor() as threads:
        key = json.loads(made)["key"]
        sending = threads.submit(host.says, "python3", "-c", SENDER, url, key, "8", timeout_s=400)
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


def test_the_door_inside_opens_to_its_users_with_the_drop_in_of_its_page(host: Host) -> None:
    page = (ROOT / "docs/access.md").read_text()
    drop_in = page.partition("internal.conf\n")[2].partition("```")[0]
    host.says("groupadd", "telemetry-services")
    host.says("useradd", "--groups", "telemetry-services", "billing")
    uid = host.says("id", "--user", "billing")
    with dropped_in(host, drop_in, settings=SETTINGS_TEXT + INTERNAL.format(uid=uid)):
        let_in = json.loads(
            host.says("runuser", "-u", "billing", "--", "python3", "-c", CALL_INSIDE)
        )
        refused = host.run("runuser", "-u", "nobody", "--", "python3", "-c", CALL_INSIDE)

    assert (let_in["principal"], let_in["scopes"]) == ("internal:billing", ["read"])
    assert "PermissionError" in refused.stderr


def test_a_secret_may_be_a_credential_and_who_administers_has_it(host: Host) -> None:
    file, secret = "/etc/telemetry/credentials/jwt", "of the credential, long enough for HS256"
    write_file(host, file, f"{secret}\n")
    host.says("chmod", "0600", file)
    with dropped_in(host, f"[Service]\nLoadCredential=auth__jwt_secret:{file}\n"):
        make = "as-telemetry telemetryctl account create ann --scope read --password-stdin"
        host.says("sh", "-c", f"echo '{PASSWORD}' | {make}")
        token = host.says("python3", "-c", LOG_IN, "ann", PASSWORD)
        shown_to_us = host.says("as-telemetry", "telemetryd", "config", "show", "--origin")

    assert jwt.decode(token, secret, algorithms=["HS256"], options={"verify_aud": False})["sub"]
    assert "jwt_secret = '***'  # TELEMETRY_AUTH__JWT_SECRET" in shown_to_us


def test_a_backup_is_restored_as_the_runbook_says(running: Host) -> None:
    steps = RUNBOOK.partition("**empty** database, with the daemon stopped:")[2]
    restore = steps.partition("```sh\n")[2].partition("```")[0]
    running.says("install", "-d", "-o", "telemetry", "/backup")
    ours(running, "write", "kept", "m=1")
    file = "/backup/telemetry-2026-11-21.backup"
    running.says("as-telemetry", "telemetryd", "db", "backup", file)
    ours(running, "write", "kept", "m=2", "--time", "now")
    running.says("sh", "-ec", restore.replace("sudo ", ""))

    assert file in restore
    assert shown(running, "ActiveState") == "active"
    assert count_of(running, "kept") == 1


def test_a_timer_exports_as_its_page_says(running: Host) -> None:
    """As a user of its own, with a key that only systemd reads."""
    units = dict(re.findall(r"```ini\n# (/etc/\S+)\n(.*?)```", EXPORTS, re.S))
    for path, text in units.items():
        here = text.replace("https://telemetry.example.org", URL)
        write_file(running, path, here.replace("--settle 5m", "--settle 0s"))
    key = json.loads(ours(running, "key", "create", "nightly", "--scope", "export", "-o", "json"))
    write_file(running, "/etc/telemetry/nightly.key", f"{key['key']}\n")
    running.says("chmod", "0600", "/etc/telemetry/nightly.key")
    ours(running, "write", "d1", "temperature=1")
    running.says("systemctl", "daemon-reload")
    running.says("systemctl", "start", "telemetry-export.timer")
    running.says("systemctl", "start", "telemetry-export.service")
    rows = running.says("sh", "-c", "zcat /var/lib/telemetry-export/*.csv.gz").splitlines()
    running.says("systemctl", "start", "telemetry-export.service")
    status = shown(running, "ExecMainStatus", unit="telemetry-export.service")
    is_waiting = shown(running, "ActiveState", unit="telemetry-export.timer")

    assert len(units) == 2
    assert [row.split(",")[1:4] for row in rows[1:]] == [["d1", "temperature", "1"]]
    assert (status, is_waiting) == ("3", "active")


def test_it_is_the_first_process_of_a_container(host: Host) -> None:
    """With the user, the environment and the bounds of deploy/docker, and an empty volume; the
    image itself is not built."""
    image = (ROOT / "deploy/docker/Dockerfile").read_text()
    (user,) = re.findall(r"useradd --system --uid (\d+)", image)
    names = re.findall(r"([A-Z_]+)=(\S+)", image.partition("ENV ")[2].partition("USER")[0])
    settings = " ".join(f"{n}={v}" for n, v in names).replace("$PATH", "/usr/bin:/bin")
    host.says("systemctl", "stop", UNIT)
    host.says("useradd", "--uid", user, "contained")
    write_file(host, "/opt/contain.sh", CONTAIN.format(user=user, settings=settings))
    with ThreadPoolExecutor() as threads:
        contained = ["unshare", "-pfm", "--mount-proc", "sh", "/opt/contain.sh"]
        ending = threads.submit(host.run, *contained, timeout_s=400)
        host.until(
            lambda: ending.done() or host.run("python3", "-c", SCRAPE).returncode == 0,
            what="daemon",
        )
        pid = host.says("pgrep", "--full", "bin/telemetryd serve$", "-u", user)
        inside = ["nsenter", f"--target={pid}", "--mount", "--pid", "setpriv", f"--reuid={user}"]
        check = [*inside, "env", *settings.split(), "telemetryctl", "check", "health"]
        health = host.says(*check, "--server", URL)
        host.says("kill", "-TERM", pid)
        ended = ending.result()

    assert health.startswith("HEALTH OK")
    assert (ended.returncode, json.loads(ended.stderr.splitlines()[-1])["event"]) == (0, "stopped")


def test_a_second_instance_has_its_own_settings_and_data(running: Host) -> None:
    write_file(running, "/etc/telemetry/two.toml", SETTINGS_TEXT.replace("8218", "8300"))
    running.says("chgrp", "telemetry", "/etc/telemetry/two.toml")
    running.says("systemctl", "start", "telemetryd@two")
    urls = [event["url"] for event in events_of(running, unit="telemetryd@two") if "url" in event]
    folders = running.says("ls", "/var/lib")
    running.says("systemctl", "stop", "telemetryd@two")

    assert urls == [URL.replace("8218", "8300")]
    assert {"telemetry", "telemetry-two"} <= set(folders.split())
    assert shown(running, "ActiveState") == "active"
