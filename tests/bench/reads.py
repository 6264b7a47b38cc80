"""Reads over HTTP beside SQL over the conventional table: a day raw, and a week by the hour."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import clients, conventional
from bench.bodies import METRICS, device_id, metric_name
from bench.figure import Figure, at_most, bounded, ms
from bench.site import Site, port_of, scratch
from daemons import DaemonProcess

DEVICES = list(range(10))
STEP_S = 10
WEEK_S = 7 * 86_400
HOUR_S = 3_600
READS = 200
SERIES = [(d, m) for d in DEVICES for m in range(METRICS)]
Call = tuple[str, str, str]


def measure() -> list[Figure]:
    now_s = int(time.time()) // STEP_S * STEP_S
    end_s = now_s // HOUR_S * HOUR_S
    start_s = end_s - WEEK_S
    with scratch() as site, site.daemon(compaction__age="1s") as daemon:
        ticks = (now_s - start_s) // STEP_S
        _fill(daemon, start_s, ticks)
        conventional.create(site)
        conventional.fill(site, DEVICES, first_s=start_s, step_s=STEP_S, ticks=ticks)
        site.wait_until_compacted()
        time.sleep(3)
        return [*_day(site, daemon, now_s), *_week(site, daemon, start_s, end_s)]


def _fill(daemon: DaemonProcess, first_s: int, ticks: int) -> None:
    """A week of 100 series, from two clients."""
    sources = [
        {"kind": "history", "of": devices, "first_s": first_s, "step_s": STEP_S, "ticks": ticks,
         "ticks_per_body": 1_000}
        for devices in (DEVICES[:5], DEVICES[5:])
    ]  # fmt: skip
    clients.send(port_of(daemon), sources, token=daemon.key)


def _day(site: Site, daemon: DaemonProcess, now_s: int) -> list[Figure]:
    calls = [
        ("GET", f"/devices/{device_id(d)}/metrics/{metric_name(m)}/range?time_range=24h", "")
        for d, m in SERIES
    ]
    ours = _p95(_read(daemon, calls))
    task = {"kind": "range", "series_ids": list(range(len(SERIES))), "start_s": now_s - 86_400,
            "end_s": now_s}  # fmt: skip
    theirs = _sql(site, task, times=READS)
    name = "24 h of one series (8,640 points), p95"
    return [
        at_most(name, ours, theirs, most=0.5, show=ms, of="asyncpg fetch"),
        bounded("the same", ours, most=0.008, show=ms),
    ]


def _week(site: Site, daemon: DaemonProcess, start_s: int, end_s: int) -> list[Figure]:
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%FT%TZ") for at in (start_s, end_s))
    span = f"aggregation_type=avg&interval=3600&start_time={start}&end_time={end}"
    one_calls = [
        ("GET", f"/aggregated?metric_name={metric_name(m)}&device_id={device_id(d)}&{span}", "")
        for d, m in SERIES
    ]
    one = _p95(_read(daemon, one_calls))
    # 16,800 buckets are two pages, so a read is two calls.
    pages = _read(daemon, _pages(daemon, start, end), times=20)
    many = _p95(pages.reshape(-1, 2).sum(axis=1))
    task: dict[str, Any] = {"kind": "hourly", "start_s": start_s, "first_id": 0, "series": 1}
    sql_one = _sql(site, task, times=25)
    sql_many = _sql(site, task | {"series": len(SERIES)}, times=5)
    names = ("7 d hourly average, 1 series, p95", "the same, 100 series (2 pages), p95")
    return [
        at_most(names[0], one, sql_one, most=1 / 10, show=ms, of="SQL"),
        bounded("the same", one, most=0.004, show=ms),
        at_most(names[1], many, sql_many, most=1 / 30, show=ms, of="SQL"),
        bounded("the same", many, most=0.040, show=ms),
    ]


def _pages(daemon: DaemonProcess, start: str, end: str) -> list[Call]:
    """The calls for hourly averages of all series, each apart; checked to bring every bucket."""
    body: dict[str, Any] = {
        "metrics": [metric_name(m) for m in range(METRICS)],
        "devices": [device_id(d) for d in DEVICES],
        "start_time": start, "end_time": end, "aggregation": "avg", "interval": HOUR_S,
    }  # fmt: skip
    calls: list[Call] = []
    count = 0
    with daemon.http() as http:
        while True:
            answer = http.post("/query", json=body)
            answer.raise_for_status()
            calls.append(("POST", "/query", json.dumps(body)))
            count += answer.json()["count"]
            body = body | {"cursor": answer.json()["next_cursor"]}
            if body["cursor"] is None:
                assert (count, len(calls)) == (len(SERIES) * WEEK_S // HOUR_S, 2)
                return calls


def _read(
    daemon: DaemonProcess, calls: Sequence[Call], *, times: int = READS // 100
) -> npt.NDArray[np.float64]:
    """How long each call took, one after the other, in seconds; a first round warms up."""
    source = {"kind": "reads", "of": calls, "times": times + 1}
    answers = clients.send(port_of(daemon), [source], token=daemon.key)
    return answers.latencies_s[len(calls) :]


def _p95(latencies_s: npt.NDArray[np.float64]) -> float:
    return float(np.percentile(latencies_s, 95))


def _sql(site: Site, task: dict[str, Any], *, times: int) -> float:
    spec = {"dsn": site.dsn, "connections": 1, "task": task, "times": times}
    return clients.measure("conventional", [spec]).percentile_s(95)
