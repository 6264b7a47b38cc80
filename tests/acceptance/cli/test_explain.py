"""`alert explain` and `rule explain` with a real daemon: why it fired, and why it does not."""

from __future__ import annotations

import json
import time
from typing import Any

from daemons import DaemonProcess


def test_why_it_fired_and_why_it_does_not(daemon: DaemonProcess) -> None:
    daemon.cli("write", "kiln", "heat=20")
    daemon.cli(
        "rule", "create", "kiln hot", "-m", "heat", "--when", "> 90", "--window", "5m",
        "--count", "2", "--force",
    )  # fmt: skip
    deadline_s = time.monotonic() + 100
    why_not: dict[str, Any] = {}
    while "no_breach" not in str(why_not.get("causes")) and time.monotonic() < deadline_s:
        before = daemon.cli("rule", "explain", "kiln hot", "-d", "kiln", "-o", "json")
        why_not = json.loads(before.stdout)
    for value in (95, 96):
        daemon.cli("write", "kiln", f"heat={value}")
    deadline_s = time.monotonic() + 100
    alerts: list[str] = []
    while not alerts and time.monotonic() < deadline_s:
        listed = daemon.cli("alert", "ls", "-o", "jsonl", "--rule", "kiln hot")
        alerts = [json.loads(line)["alert_id"] for line in listed.stdout.splitlines()]
        time.sleep(0.1)
    alert = json.loads(daemon.cli("alert", "explain", alerts[0], "-o", "json").stdout)
    after = json.loads(daemon.cli("rule", "explain", "kiln hot", "-d", "kiln", "-o", "json").stdout)
    table = daemon.cli("rule", "explain", "kiln hot", "-d", "kiln", "-o", "table").stdout
    shown = daemon.cli("alert", "explain", alerts[0], "-o", "table").stdout

    assert (why_not["fires"], why_not["causes"][0]["code"]) == (False, "no_breach")
    [step] = alert["steps"]
    assert (step["to"], step["inputs"]["trigger_count"]) == ("fired", 2)
    assert len(step["inputs"]["breaches"]) == 2
    assert step["inputs"]["arrived"] is not None
    assert [cause["code"] for cause in after["causes"]] == ["open_already"]
    assert "open_already" in table
    assert "breached" in shown


def test_a_device_that_there_is_not(daemon: DaemonProcess) -> None:
    daemon.cli("rule", "create", "cold", "-m", "heat", "--when", "< 0", "--force")

    done = daemon.cli("rule", "explain", "cold", "-d", "nobody", check=False)

    assert done.returncode == 3
