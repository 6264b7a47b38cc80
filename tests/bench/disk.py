"""Bytes on disk per point: a day of random walks, compacted and merged, everything counted."""

from __future__ import annotations

import time

from bench import clients, conventional
from bench.bodies import METRICS
from bench.figure import Figure
from bench.site import Site, port_of, scratch

DEVICES = list(range(10))
STEP_S = 10
TICKS = 8_640
PARTS = 6
DAY_S = 86_400
SPLIT = "select count(*) from telemetry.chunk"
OURS = """
select sum(pg_total_relation_size(oid)) from pg_class
 where relnamespace = 'telemetry'::regnamespace and relkind = 'r' and relname ~ '^(chunk|rollup)'
"""
THEIRS = "select pg_total_relation_size('bench.point')"


def measure() -> list[Figure]:
    first_s = (int(time.time()) // DAY_S - 1) * DAY_S
    series = len(DEVICES) * METRICS
    points = series * TICKS
    with scratch() as site, site.daemon(compaction__age="1s") as daemon:
        for part in range(PARTS):
            # The day arrives in parts, so that there are pieces to merge and space to use again.
            ticks = TICKS // PARTS
            source = {
                "kind": "history", "of": DEVICES, "first_s": first_s, "skip": part * ticks,
                "step_s": STEP_S, "ticks": ticks, "ticks_per_body": 360,
            }  # fmt: skip
            clients.send(port_of(daemon), [source], token=daemon.key)
            site.wait_until_compacted()
        conventional.create(site)
        conventional.fill(site, DEVICES, first_s=first_s, step_s=STEP_S, ticks=TICKS)
        _wait_until_merged(site, series)
        site.with_connection(lambda c: c.execute("vacuum telemetry.chunk, telemetry.rollup"))
        ours = int(site.ask(OURS)[0][0]) / points
        theirs = int(site.ask(THEIRS)[0][0]) / points
    shown = f"{ours:.2f} B"
    limit = f"conventional row: {theirs:.0f} B"
    return [
        Figure(
            "bytes on disk a point", shown, limit, f"{ours / theirs:.3f}", "≤ 2.6 B", ours <= 2.6
        )
    ]


def _wait_until_merged(site: Site, series: int, *, timeout_s: float = 90) -> None:
    """Return when every series of the day is one chunk."""
    deadline = time.monotonic() + timeout_s
    while site.ask(SPLIT)[0][0] > series:
        if time.monotonic() > deadline:
            raise TimeoutError("the pieces of the day are not merged")
        time.sleep(0.5)
