"""Every route that has a bound: p50, p95 and p99 of one client that asks again and again, over a
week of history, hundreds of definitions, rules and alerts; and points beside long reads."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
from bench import bodies, clients
from bench.bodies import device_id, metric_name
from bench.figure import Figure, at_most, ms
from bench.gates import QUIET, seen_by, visit, visiting
from bench.site import port_of, scratch
from daemons import DaemonProcess

DEVICES = list(range(10))
STEP_S = 60
WEEK_S = 7 * 86_400
DEFINITIONS = 300
RULES = 200
ALERTING = 20
"""Rules that fire for each device: alerts to list."""
TIMES, WARM = 100, 10
LONG_READS = 50
WRITES_PER_S = 400.0
SERIES_0 = f"/devices/{device_id(0)}/metrics/{metric_name(0)}"


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for again and again; `bound_s` is that of its p95."""

    name: str
    requests: Iterator[bytes]
    bound_s: float
    after: Callable[[bytes], bytes | None] = lambda _body: None
    """From an answer the request that undoes it, which is not measured."""


def measure() -> list[Figure]:
    end_s = int(time.time()) // STEP_S * STEP_S
    with scratch() as site, site.daemon(compaction__age="1s", **QUIET) as daemon:
        rule_id = _fill(daemon, end_s - WEEK_S)
        site.wait_until_compacted()
        time.sleep(3)
        routes = [*_writes(daemon, end_s), *_reads(daemon, end_s), *_things(daemon, rule_id)]
        found = [_measured(daemon, route) for route in routes]
        return [*found, _beside_long_reads(daemon, end_s)]


def _fill(daemon: DaemonProcess, start_s: int) -> str:
    """A week of 100 series, definitions, rules and their alerts; gives the id of a rule."""
    source = {"kind": "history", "of": DEVICES, "first_s": start_s, "step_s": STEP_S,
              "ticks": WEEK_S // STEP_S, "ticks_per_body": 1_000}  # fmt: skip
    clients.send(port_of(daemon), [source], token=daemon.key)
    rule = {"condition": ">", "threshold_value": 1e9, "metric_name": metric_name(0)}
    with daemon.http() as http:
        for number in range(DEFINITIONS):
            _made(http, "/metrics", {"name": f"defined_{number}", "data_type": "numeric"})
        for number in range(RULES):
            threshold = -1 if number < ALERTING else 1e9
            named = {"name": f"rule {number}", "threshold_value": threshold}
            made = _made(http, "/alerts/rules", rule | named)
        for device in DEVICES:
            point = {"metric_name": metric_name(0), "value": 50.0, "timestamp": time.time()}
            http.post(f"/devices/{device_id(device)}/telemetry", json=point).raise_for_status()
        deadline = time.monotonic() + 60
        while http.get("/alerts").json()["total"] < ALERTING * len(DEVICES):
            assert time.monotonic() < deadline, "the alerts do not come"
            time.sleep(0.2)
        return str(made["rule_id"])


def _made(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


# -- routes ------------------------------------------------------------------------------------


def _writes(daemon: DaemonProcess, end_s: int) -> list[Route]:
    """R-128. The points are of days before the history, so that each is new."""
    first_s = end_s - 30 * 86_400
    return [
        Route(
            "a point",
            bodies.singles([1], first_s=first_s, token=daemon.key),
            0.100,
        ),
        Route(
            "a batch of 1,000",
            bodies.batches([2], first_s=first_s, token=daemon.key),
            0.500,
        ),
        Route("bulk, 10 × 100", _bulks(daemon.key, first_s), 1.0),
    ]


def _bulks(token: str, first_s: int) -> Iterator[bytes]:
    for turn in range(TIMES + WARM):
        start_s = first_s + 100 * turn
        points = {
            device_id(device): [
                {"timestamp": start_s + at, "metric_name": "bulk", "value": 20 + at / 100}
                for at in range(100)
            ]
            for device in DEVICES
        }
        yield bodies.request("POST", "/bulk", token=token, body=json.dumps(points).encode())


def _reads(daemon: DaemonProcess, end_s: int) -> list[Route]:
    """R-129, R-130 and what R-132 says of statistics."""
    start, end = (
        datetime.fromtimestamp(at, UTC).strftime("%FT%TZ") for at in (end_s - WEEK_S, end_s)
    )
    span = f"aggregation_type=avg&interval=3600&start_time={start}&end_time={end}"
    history = {"metrics": [metric_name(0)], "devices": [device_id(0)], "start_time": start,
               "end_time": end, "aggregation": "avg", "interval": 3600}  # fmt: skip
    gets = (
        ("latest", f"{SERIES_0}/latest", 0.050),
        ("range of a week", f"{SERIES_0}/range?time_range=7d", 0.500),
        ("range of 24 h", f"{SERIES_0}/range?time_range=24h", 0.200),
        ("aggregated, a week", f"/aggregated?metric_name={metric_name(0)}&{span}", 0.300),
        ("metrics of a device", f"/devices/{device_id(0)}/metrics", 0.100),
        ("stats of a device", f"/devices/{device_id(0)}/stats", 0.200),
        ("stats of the service", "/stats", 0.300),
    )
    asked = bodies.reads([("POST", "/query", json.dumps(history))], token=daemon.key)
    return [*[_got(daemon, *one) for one in gets], Route("history by the hour", asked, 0.500)]


def _things(daemon: DaemonProcess, rule_id: str) -> list[Route]:
    """R-131 and the rest of R-132."""
    gets = (
        ("list of definitions", "/metrics?limit=100", 0.100),
        ("a definition", "/metrics/defined_7", 0.050),
        ("list of rules", "/alerts/rules?limit=100", 0.100),
        ("a rule", f"/alerts/rules/{rule_id}", 0.050),
        ("list of alerts", "/alerts?limit=100", 0.100),
    )
    switched = [
        ("PUT", f"/alerts/rules/{rule_id}/enable", json.dumps({"enabled": is_on}))
        for is_on in (False, True)
    ]
    wanted = [("POST", "/subscribe", json.dumps({"device_ids": [device_id(0)]}))]

    def cancel(body: bytes) -> bytes:
        path = f"/subscribe/{json.loads(body)['subscription_id']}"
        return bodies.request("DELETE", path, token=daemon.key)

    return [
        *[_got(daemon, *one) for one in gets],
        Route("enable a rule", _puts(switched, daemon.key), 0.050),
        Route("subscribe", bodies.reads(wanted, token=daemon.key), 0.050, cancel),
        Route("/health", _roots("/health", daemon.key), 0.020),
        Route("/health/detailed", _roots("/health/detailed", daemon.key), 0.050),
    ]


def _got(daemon: DaemonProcess, name: str, path: str, bound_s: float) -> Route:
    return Route(name, bodies.reads([("GET", path, "")], token=daemon.key), bound_s)


def _puts(calls: list[tuple[str, str, str]], token: str) -> Iterator[bytes]:
    return bodies.reads(calls, token=token)


def _roots(path: str, token: str) -> Iterator[bytes]:
    while True:
        yield f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {token}\r\n\r\n".encode()


# -- asking ------------------------------------------------------------------------------------


def _measured(daemon: DaemonProcess, route: Route) -> Figure:
    latencies_s = []
    with closing(socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=30)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(TIMES + WARM):
            request = next(route.requests)
            began_s = time.perf_counter()
            status, body = _asked(client, request)
            took_s = time.perf_counter() - began_s
            if status not in (200, 201):
                raise RuntimeError(f"{route.name}: {status} {body[:300]!r}")
            undo = route.after(body)
            if undo is not None:
                _asked(client, undo)
            if turn >= WARM:
                latencies_s.append(took_s)
    p50_s, p95_s, p99_s = (float(np.percentile(latencies_s, p)) for p in (50, 95, 99))
    measured = f"{ms(p50_s)} / {ms(p95_s)} / {ms(p99_s)}"
    target = f"p95 ≤ {ms(route.bound_s)}"
    name = f"{route.name}, p50 / p95 / p99"
    return Figure(name, measured, "-", "-", target, p95_s <= route.bound_s)


def _asked(client: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer, which says how long it is."""
    client.sendall(request)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _some(client)
    head = received[:end].lower()
    at = head.index(b"content-length: ") + len(b"content-length: ")
    length = end + 4 + int(head[at:].split(b"\r\n")[0])
    parts, have = [received], len(received)
    while have < length:
        parts.append(_some(client))
        have += len(parts[-1])
    return int(received[9:12]), b"".join(parts)[end + 4 :]


def _some(client: socket.socket) -> bytes:
    part = client.recv(1 << 20)
    if not part:
        raise ConnectionError("the daemon closed the connection")
    return part


# -- beside long reads -------------------------------------------------------------------------


def _beside_long_reads(daemon: DaemonProcess, end_s: int) -> Figure:
    """p99 of single points at a fixed rate, beside 50 clients that ask for as much as they may."""
    port, options = port_of(daemon), {"tokens": [daemon.key], "rate_per_s": WRITES_PER_S}
    first_s = end_s - 60 * 86_400
    alone = visit(port, ["write"], visitors=16, seconds=6.0, warm_s=1.0, first_s=first_s, **options)
    reads: dict[str, Any] = {"tokens": [daemon.key], "seconds": 9.0, "first_s": end_s - WEEK_S}
    with visiting(port, ["long"], visitors=LONG_READS, processes=1, **reads) as running:
        time.sleep(1.0)
        beside = visit(
            port, ["write"], visitors=16, seconds=6.0, first_s=first_s + 20 * 86_400, **options
        )
        asked = seen_by(running)
    figure = at_most(
        f"points at {WRITES_PER_S:.0f}/s beside {LONG_READS} long reads, p99",
        beside.percentile_s(99), alone.percentile_s(99), most=2, show=ms, of="without them",
    )  # fmt: skip
    is_right = beside.failed == 0 and set(asked.answers) <= {200, 429, 503} and not asked.lost
    limit = f"{figure.limit}; reads {dict(asked.answers)}"
    reached = bool(figure.is_reached) and is_right
    return Figure(figure.name, figure.measured, limit, figure.ratio, figure.target, reached)
