"""The newest point over HTTP, at 16 connections while 50,000 points/s come in."""

from __future__ import annotations

import time
from itertools import product

from bench import clients
from bench.bodies import METRICS, TICKS_PER_BATCH, device_id, metric_name
from bench.figure import Figure, bounded, ms, rate
from bench.site import port_of, scratch

WRITERS = 8
READERS = 16
DEVICES_PER_WRITER = 10
POINTS_PER_S = 50_000
SECONDS = 8


def measure() -> list[Figure]:
    interval_s = WRITERS * METRICS * TICKS_PER_BATCH / POINTS_PER_S
    first_s = int(time.time()) - 7_200
    writers = [
        {"kind": "batches", "of": _devices(number), "first_s": first_s} for number in range(WRITERS)
    ]
    names = product(_devices(0), range(METRICS))
    calls = [
        ("GET", f"/devices/{device_id(d)}/metrics/{metric_name(m)}/latest", "") for d, m in names
    ]
    with scratch() as site, site.daemon() as daemon:
        port, token = port_of(daemon), daemon.key
        # Every series has its newest point before anybody asks.
        clients.send(port, writers, token=token, seconds=1.0)
        later = [writer | {"first_s": first_s + 3_600} for writer in writers]
        load = clients.load_specs(
            port, later, token=token, processes=1, warm_s=1.0, seconds=SECONDS,
            interval_s=interval_s,
        )  # fmt: skip
        with clients.running("load", load) as processes:
            readers = [{"kind": "reads", "of": calls} for _ in range(READERS)]
            read = clients.send(port, readers, token=token, warm_s=1.0, seconds=SECONDS - 2)
            written = clients.reports(processes)
    points_per_s = written.per_s * METRICS * TICKS_PER_BATCH
    name = f"latest at {READERS} connections, {rate(read.per_s)}, p95"
    figure = bounded(name, read.percentile_s(95), most=0.010, show=ms)
    came_in = f"{rate(points_per_s)} points came in"
    return [
        Figure(figure.name, figure.measured, came_in, "-", figure.target,
               figure.is_reached and points_per_s > 0.95 * POINTS_PER_S)
    ]  # fmt: skip


def _devices(number: int) -> list[int]:
    return list(range(number * DEVICES_PER_WRITER, (number + 1) * DEVICES_PER_WRITER))
