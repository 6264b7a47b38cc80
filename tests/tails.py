"""A running `telemetryctl tail`: its lines as they come, its end, and points to feed it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from command_line import PROGRAM
from daemons import DaemonProcess

WITHIN_S = 100.0


@dataclass
class Tail:
    """`out` and `err` are the lines so far."""

    process: subprocess.Popen[str]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def wait_for_lines(self, count: int, *, within_s: float = WITHIN_S) -> list[str]:
        """So many lines of stdout, at least."""
        self.wait(lambda: len(self.out) >= count, f"{count} lines", within_s)
        return self.out

    def wait_for_word(self, text: str, *, times: int = 1, within_s: float = WITHIN_S) -> None:
        """The text on stderr."""
        self.wait(lambda: "\n".join(self.err).count(text) >= times, repr(text), within_s)

    def wait(self, is_there: Callable[[], object], what: str, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while not is_there():
            is_over = self.process.poll() is not None and not any(
                t.is_alive() for t in self.threads
            )
            if time.monotonic() > deadline_s or (is_over and not is_there()):
                raise AssertionError(
                    f"no {what}; exit {self.process.poll()}; {len(self.out)} lines, the last"
                    f" {self.out[-3:]}; stderr {self.err}"
                )
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code, once everything it wrote is read."""
        self.process.send_signal(number)
        return self.end()

    def end(self, *, within_s: float = WITHIN_S) -> int:
        """Its exit code, when it ends by itself."""
        code = self.process.wait(within_s)
        for thread in self.threads:
            thread.join(60)
        return code

    @property
    def points(self) -> list[dict[str, Any]]:
        """The lines of `-o jsonl`; what a kill cut off is left out."""
        found = []
        for line in self.out:
            try:
                found.append(json.loads(line))
            except ValueError:
                assert line is self.out[-1], line
        return found


@contextmanager
def tailing(
    daemon: DaemonProcess, *arguments: str, environ: Mapping[str, str] | None = None, url: str = ""
) -> Iterator[Tail]:
    """Run `tail` with these arguments; `-o jsonl` unless they say something else."""
    command = [PROGRAM, "tail", *arguments]
    if "-o" not in arguments and "--template" not in arguments:
        command += ["-o", "jsonl"]
    environment = daemon.environment | {"TZ": "UTC", "LANG": "C.UTF-8"} | dict(environ or {})
    if url:
        environment |= {"TELEMETRYCTL_SERVER": url, "TELEMETRYCTL_TOKEN": daemon.key}
    with running(command, environment) as tail:
        yield tail


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Tail]:
    """A command that runs on, read as it writes; killed at the end of the block."""
    process = subprocess.Popen(
        command,
        env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    tail = Tail(process)
    for stream, lines in ((process.stdout, tail.out), (process.stderr, tail.err)):
        thread = threading.Thread(target=_read, args=(stream, lines), daemon=True)
        thread.start()
        tail.threads.append(thread)
    try:
        yield tail
    finally:
        if process.poll() is None:
            process.kill()
        tail.end()


def _read(stream: Any, lines: list[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line.removesuffix("\n"))


def is_listening(tail: Tail, daemon: DaemonProcess, *, device: str, **extra: Any) -> None:
    """Return once the tail has found its place, and shows nothing more that was sent before."""
    deadline_s = time.monotonic() + WITHIN_S
    with daemon.http() as http:
        while not tail.out and time.monotonic() < deadline_s:
            send(http, device, "ping", [0], **extra)
            time.sleep(0.1)
        send(http, device, "ping", [-1], **extra)
    tail.wait(lambda: tail.out and '"value":-1,' in tail.out[-1], "probe", WITHIN_S)


def keep_place(daemon: DaemonProcess, *chosen: str, state: Path) -> None:
    """A run that ends as soon as it has found its place, and kept it."""
    with tailing(daemon, *chosen, "--state", str(state)) as tail:
        tail.wait(state.exists, "place", WITHIN_S)
        assert tail.stop() == 128 + signal.SIGTERM, tail.err


def send(http: httpx.Client, device: str, metric: str, values: list[Any], **extra: Any) -> None:
    """Store values with stamps of now, no two the same; returns when they are committed."""
    stamps = [_next_stamp() for _ in values]
    points = [
        {"timestamp": iso(time_us), "metric_name": metric, "value": value} | extra
        for time_us, value in zip(stamps, values, strict=True)
    ]
    answer = http.post(f"/devices/{device}/telemetry/batch", json={"data_points": points})
    assert answer.status_code == 200, answer.text


_stamped_us = [0]
_stamping = threading.Lock()


def _next_stamp() -> int:
    with _stamping:
        _stamped_us[0] = max(_stamped_us[0] + 1, time.time_ns() // 1000)
        return _stamped_us[0]


def iso(time_us: int) -> str:
    seconds, micros = divmod(time_us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"


def stored(daemon: DaemonProcess, *, metric: str) -> list[tuple[str, str, Any]]:
    """Every stored point of a metric in commit order: (device, timestamp, value)."""
    found: list[tuple[str, str, Any]] = []
    cursor = ""
    with daemon.http() as http:
        while True:
            params = {"limit": "10000", "metric_names": metric, "after": cursor}
            page = http.get("/changes", params=params).json()
            found += keys(page["data_points"])
            if not page["data_points"]:
                return found
            cursor = page["cursor"]


def keys(points: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(p["device_id"], p["timestamp"], p["value"]) for p in points]
