"""Real telemetryd processes for tests: started on a free port, talked to over HTTP and by the real
CLI, stopped or killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

API = "/api/v1/telemetry"


@dataclass
class DaemonProcess:
    """One running telemetryd with a home of its own."""

    process: subprocess.Popen[bytes]
    home: Path
    url: str = ""
    key: str = ""
    lines: deque[bytes] = field(default_factory=deque)
    """Of its log, those that nobody asked for yet."""
    reader: threading.Thread | None = None
    _log: list[dict[str, Any]] = field(default_factory=list)
    _decoding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its lines as dicts; decoded when they are asked for, so that a daemon that says much is
        not held up by who reads it."""
        with self._decoding:
            while self.lines:
                self._log.append(_decoded(self.lines.popleft()))
            return self._log

    @property
    def environment(self) -> dict[str, str]:
        """What the CLI needs to use this daemon's first context."""
        return _environment(self.home)

    def http(self, **options: Any) -> httpx.Client:
        """A client with the admin key; paths are below `/api/v1/telemetry` unless they are
        whole."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url + API, headers=headers, timeout=60, **options)

    def cli(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        check: bool = True,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run the real telemetryctl against this daemon; output as text."""
        done = subprocess.run(
            [Path(sys.executable).parent / "telemetryctl", *arguments],
            input=stdin.decode() if isinstance(stdin, bytes) else stdin,
            capture_output=True, text=True, timeout=120, check=False,
            env=self.environment | environment,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def wait_for(self, event: str, *, timeout_s: float = 120) -> dict[str, Any]:
        """The first log line with this event."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            has_ended = self.process.poll() is not None
            if has_ended and self.reader is not None:
                # Its last words may be on their way still.
                self.reader.join(5)
            for line in list(self.log):
                if line.get("event") == event:
                    return line
            if has_ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {event}; exit {self.process.poll()}; log: {self.log[-20:]}")

    def kill(self) -> None:
        """kill -9, as a crash."""
        self.process.kill()
        self.process.wait(60)

    def stop(self, *, timeout_s: float = 90) -> int:
        """SIGTERM, and the exit code; its last words are in the log by then."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
            raise
        if self.reader is not None:
            self.reader.join(5)
        return code


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


def start_daemon(
    dsn: str,
    *,
    home: Path | None = None,
    wait: bool = True,
    key: str = "",
    sabotage: str = "",
    environment: Mapping[str, str] | None = None,
    **settings: str,
) -> DaemonProcess:
    """Start telemetryd on this database; `settings` are like `compaction__age="1s"`.

    A second daemon on the same database gets the first one's `key`. `sabotage` names the protection
    that is taken out (tests/sabotage), for negative controls. `environment` is what else it finds.
    """
    home = home or Path(tempfile.mkdtemp(prefix="tlmd-"))
    environ = _environment(home) | {
        "TELEMETRY_DATABASE__URL": dsn,
        "TELEMETRY_SERVER__PORT": "0",
        "TELEMETRY_LOG__FORMAT": "json",
        # Points of its own would come among those that are counted; who wants them says so.
        "TELEMETRY_METRICS__OWN_EVERY": "0s",
        # Hundreds of tests come from one address; those of limits say so.
        "TELEMETRY_LIMITS__EXEMPT_NETWORKS": '["127.0.0.0/8", "::1/128"]',
    }
    environ |= {f"TELEMETRY_{name.upper()}": value for name, value in settings.items()}
    environ |= environment or {}
    program = [str(Path(sys.executable).parent / "telemetryd")]
    if sabotage:
        program = [sys.executable, str(Path(__file__).parent / "sabotage.py"), sabotage]
    process = subprocess.Popen(
        [*program, "serve"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ,
    )  # fmt: skip
    daemon = DaemonProcess(process, home, key=key)
    daemon.reader = threading.Thread(target=_read_log, args=(daemon,), daemon=True)
    daemon.reader.start()
    if wait:
        wait_until_serving(daemon)
    return daemon


def wait_until_serving(daemon: DaemonProcess, *, timeout_s: float = 120) -> None:
    daemon.url = daemon.wait_for("serving", timeout_s=timeout_s)["url"]
    credentials = daemon.home / "config" / "telemetryctl" / "credentials.toml"
    if not daemon.key and credentials.is_file():
        daemon.key = tomllib.loads(credentials.read_text())["contexts"]["local"]["token"]
        _point_context_to(daemon)


def _point_context_to(daemon: DaemonProcess) -> None:
    """The context keeps its first port; a restarted daemon has another one."""
    daemon.cli("context", "edit", "local", "--server", daemon.url, check=False)


def _read_log(daemon: DaemonProcess) -> None:
    assert daemon.process.stderr is not None
    with daemon.process.stderr as lines:
        daemon.lines.extend(lines)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (TypeError, ValueError):
        return {"event": "not_json", "text": line.decode(errors="replace")}


_started: list[DaemonProcess] = []


async def started(dsn: str, **options: Any) -> DaemonProcess:
    """`start_daemon` for tests that go on meanwhile; what still runs at their end is killed."""
    daemon = await asyncio.to_thread(lambda: start_daemon(dsn, wait=False, **options))
    _started.append(daemon)
    await asyncio.to_thread(wait_until_serving, daemon)
    return daemon


def kill_started() -> None:
    """End what `started` began and the test left running."""
    while _started:
        _started.pop().kill()
