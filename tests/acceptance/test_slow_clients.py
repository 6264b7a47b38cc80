"""Headers, bodies and reads that never end: their connections do, and nobody else notices."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import slow_clients
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer
from slow_clients import Attack, attacking

CONNECTIONS = 150
SECONDS = 75
"""At most: it ends when all were closed."""
USERS = 4
P95_MAX_S = 2.5
"""Less than who is slow may take, whom nobody may have to wait for; how much slower others get is
measured by the benchmark."""
_ENDED = re.compile(r'^telemetry_http_connections_ended_total\{.*reason="(\w+)"\} (\S+)', re.M)


@pytest.mark.skipif(not slow_clients.is_installed(), reason=slow_clients.MISSING)
@pytest.mark.timeout(600)
def test_slow_clients_are_closed_in_time_and_others_are_served_meanwhile(
    postgres: PostgresServer,
) -> None:
    dsn = asyncio.run(fresh_database(postgres))
    daemon = start_daemon(
        dsn, http__header_timeout="3s", http__body_timeout="4s", http__write_timeout="3s"
    )
    try:
        _attack(daemon)
    finally:
        daemon.stop()


def _attack(daemon: DaemonProcess) -> None:
    files = _open_files(daemon)
    attacks = [Attack(kind, CONNECTIONS, SECONDS) for kind in ("header", "body", "read")]
    over = threading.Event()
    with attacking(daemon.url, attacks) as running, ThreadPoolExecutor(USERS) as pool:
        users = [pool.submit(_use, daemon, over) for _ in range(USERS)]
        try:
            # Who reads slowly hears of the end when it has read what its own kernel holds.
            said = [_said(process) for process in running[:2]]
            _wait_for_ends(daemon)
        finally:
            over.set()
        latencies_s = np.concatenate([user.result() for user in users])

    assert all(slow_clients.ALL_CLOSED in text for text in said), said
    assert float(np.percentile(latencies_s, 95)) < P95_MAX_S
    _wait_for_files(daemon, files + 10)
    assert not [line for line in daemon.log if line.get("event") == "request_failed"]


def _wait_for_ends(daemon: DaemonProcess) -> None:
    """Until nearly all of each kind were ended by the daemon: some had no time to begin."""
    until_s = time.monotonic() + SECONDS
    while True:
        ended = _ended(daemon)
        if all(ended[reason] >= 0.9 * CONNECTIONS for reason in ("header", "body", "write")):
            return
        assert time.monotonic() < until_s, ended
        time.sleep(0.2)


def _wait_for_files(daemon: DaemonProcess, files_max: int) -> None:
    """Those that were left over end with their clients, a moment later."""
    until_s = time.monotonic() + SECONDS
    while (files := _open_files(daemon)) > files_max:
        assert time.monotonic() < until_s, files
        time.sleep(0.2)


def _use(daemon: DaemonProcess, over: threading.Event) -> list[float]:
    """Write and read on kept connections and on new ones; every answer has to be right."""
    taken_s: list[float] = []
    with daemon.http() as http:
        while not over.is_set() or not taken_s:
            for connection in ("keep-alive", "close"):
                begun_s = time.monotonic()
                _write_and_read(http, {"Connection": connection})
                taken_s.append(time.monotonic() - begun_s)
            time.sleep(0.02)
    return taken_s


def _write_and_read(http: httpx.Client, headers: dict[str, str]) -> None:
    point = {"timestamp": int(time.time()), "metric_name": "m", "value": 1}  # noqa: TID251, RUF100
    http.post("/devices/d/telemetry", json=point, headers=headers).raise_for_status()
    http.get("/devices/d/metrics/m/latest", headers=headers).raise_for_status()


def _said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=SECONDS + 20)[0][-300:]


def _ended(daemon: DaemonProcess) -> dict[str, float]:
    with daemon.http() as http:
        text = http.get(f"{daemon.url}/metrics").text
    return {reason: float(number) for reason, number in _ENDED.findall(text)}


def _open_files(daemon: DaemonProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{daemon.process.pid}/fd").iterdir())
