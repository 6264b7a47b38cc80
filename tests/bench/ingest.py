"""Durable ingest of batches and columns, beside a route that only decodes and beside COPY."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from bench import bare, clients, conventional
from bench.bodies import COLUMN_POINTS, METRICS, TICKS_PER_BATCH
from bench.figure import Figure, at_least, rate
from bench.site import Site, port_of, scratch

from daemon.config import Config

CONNECTIONS = 8
DEVICES_PER_CONNECTION = 10
REPEATS = 3
WARM_S = 0.3
SECONDS = 1.5
ROWS = METRICS * TICKS_PER_BATCH
COLUMNS = DEVICES_PER_CONNECTION * METRICS * COLUMN_POINTS
BACK_S = 40 * 86_400
SETTLE_S = 0.5
SETTLE_TURNS_MAX = 120
COMPACTION_POINTS = Config().compaction.points


def measure() -> list[Figure]:
    rates: dict[str, list[float]] = {}
    with scratch() as site, site.daemon() as daemon, bare.served() as bare_port:
        conventional.create(site)
        port, token = port_of(daemon), daemon.key
        for turn in range(REPEATS):
            # Every turn writes points of its own, all within the retention.
            first_s = int(time.time()) - BACK_S + turn * 4 * 86_400
            later_s, latest_s = first_s + 86_400, first_s + 2 * 86_400
            steps: dict[str, Callable[[], float]] = {
                "bare": partial(_http, bare_port, "batches", first_s, points=ROWS),
                "rows": partial(_http, port, "batches", first_s, token=token, points=ROWS),
                "copy": partial(_copy, site, first_s),
                "bare tagged": partial(
                    _http, bare_port, "batches", first_s, points=ROWS, tagged=True
                ),
                "tagged": partial(
                    _http, port, "batches", later_s, token=token, points=ROWS, tagged=True
                ),
                "columns": partial(_http, port, "columns", latest_s, token=token, points=COLUMNS),
            }
            for name, step in steps.items():
                settle(site)
                rates.setdefault(name, []).append(step())
    return _figures({name: median(values) for name, values in rates.items()})


def settle(site: Site) -> None:
    """Wait until the compactor rests: what it does for one figure is not to slow another."""
    pending = """
        select coalesce(sum(j.points), 0)::int8 from telemetry.journal j
         where j.seq > (select c.position from telemetry.consumer c where c.name = 'compactor')
    """
    before = -1
    for _ in range(SETTLE_TURNS_MAX):
        (row,) = site.ask(pending)
        if row[0] == before and row[0] < COMPACTION_POINTS:
            return
        before = row[0]
        time.sleep(SETTLE_S)
    raise TimeoutError("the compactor does not rest")


def _figures(found: dict[str, float]) -> list[Figure]:
    rows = found["rows"]
    batch = "rows, batches of 1,000, 8 connections"
    return [
        at_least(batch, rows, found["bare"], least=0.4, show=rate, of="bare ASGI decoding"),
        at_least("the same", rows, found["copy"], least=1.0, show=rate, of="COPY 1,000 × 2"),
        at_least(
            "the same with tags", found["tagged"], found["bare tagged"],
            least=0.4, show=rate, of="bare ASGI decoding",
        ),
        at_least(
            "columns, 100 series × 100, 8 connections", found["columns"], rows,
            least=2.5, show=rate, of="the row figure",
        ),
    ]  # fmt: skip


def _http(
    port: int, kind: str, first_s: int, *, points: int, token: str = "", **options: Any
) -> float:
    """Points/s that 8 connections get answered, each with devices of its own."""
    sources = [
        {"kind": kind, "of": _devices(number), "first_s": first_s, **options}
        for number in range(CONNECTIONS)
    ]
    answers = clients.send(port, sources, token=token, warm_s=WARM_S, seconds=SECONDS)
    return answers.per_s * points


def _copy(site: Site, first_s: int) -> float:
    """Rows/s of COPYs of 1,000 rows on 2 connections."""
    task = {"kind": "copy", "devices": [_devices(0), _devices(1)], "first_s": first_s}
    spec = {"dsn": site.dsn, "connections": 2, "task": task, "warm_s": WARM_S, "seconds": SECONDS}
    return clients.measure("conventional", [spec]).per_s * ROWS


def _devices(number: int) -> list[int]:
    return list(range(number * DEVICES_PER_CONNECTION, (number + 1) * DEVICES_PER_CONNECTION))
