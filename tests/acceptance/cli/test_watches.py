"""Watches on the command line: made, changed, fired by a real daemon, removed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from daemons import DaemonProcess


def send(daemon: DaemonProcess, value: str) -> None:
    daemon.cli("write", "spot_1", f"status={value}")


def listed(daemon: DaemonProcess) -> list[dict[str, Any]]:
    lines = daemon.cli("watch", "ls", "-o", "jsonl").stdout.splitlines()
    return [json.loads(line) for line in lines]


def eventually(check: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + 100
    while not (found := check()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return found


def test_a_watch_fires_once(daemon: DaemonProcess) -> None:
    send(daemon, "occupied")
    added = daemon.cli(
        "watch", "add", "spot_1", "status", "--from", "occupied", "--to", "free", "--for", "2h",
        "-o", "json",
    )  # fmt: skip
    watch_id = json.loads(added.stdout)["watch_id"]

    send(daemon, "free")
    [fired] = eventually(lambda: [w for w in listed(daemon) if w["state"] == "fired"])
    edited = daemon.cli("watch", "edit", watch_id, "--for", "4h", check=False)
    daemon.cli("watch", "delete", watch_id)

    assert (fired["watch_id"], fired["fired_value"]) == (watch_id, "free")
    assert edited.returncode == 5
    assert "has fired" in edited.stderr
    assert listed(daemon) == []


def test_a_watch_is_changed_while_it_waits(daemon: DaemonProcess) -> None:
    send(daemon, "occupied")
    # What came right before a watch may still be judged with it.
    added = daemon.cli("watch", "add", "spot_1", "status", "--to", "closed", "-o", "json")
    watch_id = json.loads(added.stdout)["watch_id"]

    edited = daemon.cli(
        "watch", "edit", watch_id, "--to", "free", "--quiet-hours", "22-7", "-o", "json"
    )
    shown = json.loads(edited.stdout)
    daemon.cli("watch", "delete", watch_id)

    assert (shown["to"], shown["quiet_hours"]) == ("free", {"start": 22, "end": 7})


def test_a_watch_on_a_device_that_there_is_not_is_refused(daemon: DaemonProcess) -> None:
    added = daemon.cli("watch", "add", "nobody", "status", check=False)

    assert added.returncode == 3
    assert "nobody" in added.stderr
