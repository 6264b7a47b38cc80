"""After 10 M points in 10,000 series: the daemon's memory, and how fast it starts again."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import psutil
from bench import clients
from bench.bodies import METRICS
from bench.figure import Figure, bounded
from bench.site import Site, port_of, scratch
from daemons import DaemonProcess

DEVICES = 1_000
CONNECTIONS = 8
TICKS = 1_000
STEP_S = 10
TAIL_TICKS = 100
HELD_BACK = {"compaction__points": "1000000000", "compaction__age": "30d"}


def measure() -> list[Figure]:
    first_s = int(time.time()) - (TICKS + TAIL_TICKS) * STEP_S
    with scratch() as site:
        with site.daemon() as daemon:
            _fill(daemon, first_s, TICKS)
            time.sleep(5)
            parts, peak = _memory_bytes(daemon)
        with site.daemon(**HELD_BACK) as daemon:
            _fill(daemon, first_s + TICKS * STEP_S, TAIL_TICKS)
        points, waiting = _points(site)
        ready_s, daemon = _start(site)
        daemon.stop(timeout_s=90)
    stored = f"{points / 1e6:.1f} M stored, {waiting / 1e6:.1f} M uncompacted"
    return [
        Figure(
            "memory after 10 M points, 10,000 series", f"{sum(parts) / 1e6:.0f} MB",
            f"daemon {parts[0] / 1e6:.0f}, compactor {sum(parts[1:]) / 1e6:.0f}, "
            f"peak {peak / 1e6:.0f} MB", "-", "≤ 400 MB", sum(parts) <= 400e6,
        ),
        _noted(bounded("start until ready", ready_s, most=5, show=lambda s: f"{s:.2f} s"), stored),
    ]  # fmt: skip


def _noted(figure: Figure, limit: str) -> Figure:
    return Figure(
        figure.name, figure.measured, limit, figure.ratio, figure.target, figure.is_reached
    )


def _fill(daemon: DaemonProcess, first_s: int, ticks: int) -> None:
    """So many ticks of every series, in order of time, 100 series and 100 points a body."""
    each = DEVICES // CONNECTIONS
    sources = [
        {"kind": "columns_of_many", "of": list(range(at, at + each)), "first_s": first_s,
         "step_s": STEP_S, "ticks": ticks}
        for at in range(0, DEVICES, each)
    ]  # fmt: skip
    clients.send(port_of(daemon), sources, token=daemon.key)


def _memory_bytes(daemon: DaemonProcess) -> tuple[list[int], int]:
    """Resident now of the daemon and of its compactor, and of both at most so far, each by itself.

    PostgreSQL has its own.
    """
    process = psutil.Process(daemon.process.pid)
    ours = [process, *(c for c in process.children(recursive=True) if c.name() != "postgres")]
    now: list[int] = []
    peak = 0
    for one in ours:
        lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        now.append(int(found["VmRSS"].split()[0]) * 1024)
        peak += int(found["VmHWM"].split()[0]) * 1024
    return now, peak


def _points(site: Site) -> tuple[int, int]:
    """Points in chunks and the journal's tail, and those of the tail alone; starts the server."""
    query = """
    select (select coalesce(sum(points), 0) from telemetry.chunk),
           (select coalesce(sum(j.points), 0) from telemetry.journal j
             where j.seq > (select position from telemetry.consumer where name = 'compactor'))
    """
    with site.daemon(**HELD_BACK):
        stored, waiting = site.ask(query)[0]
    return int(stored) + int(waiting), int(waiting)


def _start(site: Site) -> tuple[float, DaemonProcess]:
    """Seconds from exec, with the database down, to the first 200 of /health/ready."""
    begun_s = time.monotonic()
    daemon = site.start(wait=False)
    daemon.url = daemon.wait_for("serving")["url"]
    while not _is_ready(port_of(daemon)):
        time.sleep(0.01)
    return time.monotonic() - begun_s, daemon


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


assert DEVICES * METRICS == 10_000
