"""Alerts: from the commit that decides to the frame that tells, what rules cost ingest, a backtest,
and a take-over."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles
from typing import Any

import httpx
from bench import clients
from bench.bodies import METRICS, TICKS_PER_BATCH, columns_of_many, device_id, metric_name
from bench.figure import Figure, at_least, bounded, ms, rate
from bench.ingest import settle
from bench.site import Site, port_of, scratch
from daemons import API, DaemonProcess
from websockets.asyncio.client import ClientConnection, connect

RULES = 1_000
DEVICES = 10_000
POINTS_PER_S = 10_000
BATCH = 1_000
SECONDS = 8.0
BREACHES_PER_BATCH = 3
REPEATS = 3
INGEST_S = 1.5
CONNECTIONS = 8
HISTORY_SERIES, HISTORY_TICKS = 1_000, 10_000
BACK_S = 40 * 86_400


def measure() -> list[Figure]:
    with scratch() as site, site.daemon() as daemon:
        make_rules(daemon, RULES)
        figures = [_commit_to_alert(daemon)]
    figures.append(_cost_to_ingest())
    with scratch() as site, site.daemon(compaction__age="1s") as daemon:
        figures.append(_backtest(site, daemon))
    figures.append(_take_over())
    return figures


# -- rules ---------------------------------------------------------------------------------------


def api(daemon: DaemonProcess, *, timeout_s: float = 60) -> httpx.Client:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    return httpx.Client(base_url=daemon.url + API, headers=headers, timeout=timeout_s)


def make_rules(daemon: DaemonProcess, count: int) -> None:
    """Half watch every device with a metric, half one device each, with a window and a count."""
    with api(daemon) as http:
        for number in range(count):
            rule: dict[str, Any] = {
                "name": f"rule {number}",
                "metric_name": metric_name(number % METRICS),
                "condition": ">",
                "threshold_value": 900 + number,
                "cooldown_minutes": 0,
                "auto_resolve_timeout": 5,
            }
            if number % 2:
                rule |= {"device_ids": [device_id(number)], "evaluation_window": 60}
            answer = http.post("/alerts/rules", json=rule)
            answer.raise_for_status()


# -- from commit to alert ------------------------------------------------------------------------


def _commit_to_alert(daemon: DaemonProcess) -> Figure:
    delays_s = asyncio.run(_watch(daemon))
    p99_s = quantiles(delays_s, n=100)[98]
    name = f"commit to alert frame, 1,000 rules, 10,000 points/s, {len(delays_s)} alerts, p99"
    return bounded(name, p99_s, most=1.0, show=ms)


async def _watch(daemon: DaemonProcess) -> list[float]:
    """Seconds from each deciding batch's answer to its alert's frame, after the alert's commit."""
    answered_s: dict[str, float] = {}
    seen_s: dict[str, float] = {}
    url = daemon.url.replace("http", "ws") + "/ws"
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with (
        connect(url, additional_headers=headers, compression=None) as socket,
        httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=30) as http,
    ):
        await socket.send(json.dumps({"action": "subscribe", "channels": ["alerts"]}))
        watching = asyncio.ensure_future(_read(socket, seen_s))
        begun_s = time.perf_counter()
        for number in range(round(SECONDS * POINTS_PER_S / BATCH)):
            due_s = begun_s + number * BATCH / POINTS_PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            body, hot = _batch(number)
            answer = await http.post("/columns", json=body)
            answer.raise_for_status()
            answered_s.update(dict.fromkeys(hot, time.perf_counter()))
        deadline_s = time.perf_counter() + 10
        while len(seen_s) < len(answered_s) and time.perf_counter() < deadline_s:
            await asyncio.sleep(0.05)
        watching.cancel()
    missing = answered_s.keys() - seen_s.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} alerts were not told within 10 s")
    return [seen_s[device] - at_s for device, at_s in answered_s.items()]


async def _read(socket: ClientConnection, seen_s: dict[str, float]) -> None:
    while True:
        frame = json.loads(await socket.recv())
        if frame["type"] == "alert" and frame["data"]["status"] == "active":
            seen_s.setdefault(frame["data"]["device_id"], time.perf_counter())


def _batch(number: int) -> tuple[dict[str, Any], list[str]]:
    """One point of each of BATCH devices; the values of a few breach one rule for all devices."""
    now_us = time.time_ns() // 1000
    first = number * BATCH % DEVICES
    hot = {first + (number // 10 * BREACHES_PER_BATCH + at) * 2 for at in range(BREACHES_PER_BATCH)}
    series = [
        {
            "device_id": device_id(device),
            "metric_name": metric_name(0),
            "timestamps": [now_us],
            "values": [901.0 if device in hot else 42.17],
        }
        for device in range(first, first + BATCH)
    ]
    return {"series": series}, [device_id(device) for device in hot]


# -- what rules cost ingest ----------------------------------------------------------------------


def _cost_to_ingest() -> Figure:
    """Rows a second with the rules, beside a daemon that has none; in turns."""
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with scratch() as ruled, scratch() as free, ruled.daemon() as strict, free.daemon() as calm:
        make_rules(strict, RULES)
        for turn in range(REPEATS):
            steps: dict[str, Callable[[], float]] = {
                "with": partial(_ingest, ruled, strict, turn),
                "without": partial(_ingest, free, calm, turn),
            }
            for name, step in steps.items():
                rates[name].append(step())
    found = {name: median(values) for name, values in rates.items()}
    return at_least(
        "rows while 1,000 rules watch", found["with"], found["without"],
        least=0.85, show=rate, of="without rules",
    )  # fmt: skip


def _ingest(site: Site, daemon: DaemonProcess, turn: int) -> float:
    settle(site)
    first_s = int(time.time()) - BACK_S + turn * 4 * 86_400
    sources = [
        {"kind": "batches", "of": list(range(n * 10, n * 10 + 10)), "first_s": first_s}
        for n in range(CONNECTIONS)
    ]
    answers = clients.send(port_of(daemon), sources, token=daemon.key, warm_s=0.3, seconds=INGEST_S)
    return answers.per_s * METRICS * TICKS_PER_BATCH


# -- a backtest ----------------------------------------------------------------------------------


def _backtest(site: Site, daemon: DaemonProcess) -> Figure:
    """Ten million points of one metric in 1,000 series, from the request to the result."""
    first_s = int(time.time()) - HISTORY_TICKS * 10
    devices = list(range(HISTORY_SERIES // METRICS))
    requests = list(
        columns_of_many(devices, first_s=first_s, step_s=10, ticks=HISTORY_TICKS, token=daemon.key)
    )
    _send_all(port_of(daemon), [_as_one_metric(request) for request in requests])
    site.wait_until_compacted()
    rule = {"metric_name": "history", "condition": ">", "threshold_value": 99.9,
            "evaluation_window": 60, "trigger_count": 2}  # fmt: skip
    body = {"rule": rule, "start_time": first_s, "end_time": int(time.time())}
    with api(daemon, timeout_s=120) as http:
        begun_s = time.perf_counter()
        queued = http.post("/alerts/rules/backtest", json=body)
        queued.raise_for_status()
        path = f"/jobs/{queued.json()['job_id']}"
        while (answer := http.get(path)).status_code == 202:
            time.sleep(0.05)
        taken_s = time.perf_counter() - begun_s
        answer.raise_for_status()
    points = HISTORY_SERIES * HISTORY_TICKS
    return bounded(f"backtest of one rule over {points:,} points", taken_s, most=10.0, show=ms)


def _as_one_metric(request: bytes) -> bytes:
    """The same points under one metric: what told series apart tells devices apart."""
    head, _, body = request.partition(b"\r\n\r\n")
    for number in range(METRICS):
        old = f'","metric_name":"{metric_name(number)}"'.encode()
        body = body.replace(old, f'-{number}","metric_name":"history"'.encode())
    lines = [
        b"Content-Length: %d" % len(body) if line.startswith(b"Content-Length") else line
        for line in head.split(b"\r\n")
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _send_all(port: int, requests: list[bytes]) -> None:
    asyncio.run(_send(port, requests))


async def _send(port: int, requests: list[bytes]) -> None:
    """Each request once, on 4 connections."""

    async def lane(own: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in own:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(lane(requests[at::4]) for at in range(4)))


# -- a take-over ---------------------------------------------------------------------------------


def _take_over() -> Figure:
    """From kill -9 of the daemon that judges to the alert of a point sent after it."""
    with scratch() as site, site.daemon() as first:
        make_rules(first, 1)
        other = site.start()
        try:
            with api(other) as http:
                _wait_for_alert(first, http, "before")
                leader, follower = first, other
                begun_s = time.perf_counter()
                leader.process.send_signal(signal.SIGKILL)
                _wait_for_alert(follower, http, "after")
                taken_s = time.perf_counter() - begun_s
        finally:
            other.stop(timeout_s=90)
    return bounded("take-over of the evaluator after kill -9", taken_s, most=12.0, show=ms)


def _wait_for_alert(daemon: DaemonProcess, http: httpx.Client, device: str) -> None:
    """Send a breach, and return when its alert stands."""
    point = {"timestamp": time.time(), "metric_name": metric_name(0), "value": 950}
    deadline_s = time.perf_counter() + 60
    while True:
        answer = http.post(f"/devices/{device}/telemetry", json=point)
        if answer.status_code == 200:
            break
        time.sleep(0.05)
    while not http.get("/alerts", params={"device_id": device}).json()["total"]:
        if time.perf_counter() > deadline_s:
            raise TimeoutError(f"no alert at {daemon.url}")
        time.sleep(0.05)
