"""Streams: commit to socket, fan-out beside a bare one, many devices, slow readers, returns, and
what subscribers cost ingest."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import psutil
from bench import clients, fanout
from bench.bodies import METRICS, TICKS_PER_BATCH, device_id
from bench.crowd import Counted, Crowd, answers, crowd, publishing
from bench.figure import Figure, at_least, at_most, bounded, ms, rate
from bench.ingest import settle
from bench.listeners import SLOW_SOURCE
from bench.site import Site, port_of, scratch
from bench.sockets import established
from daemons import DaemonProcess

FEW, MANY = 1_000, 10_000
WATCHERS, WATCHED_PER_S = 100, 1_000
FLAT_DELIVERIES_PER_S = 200_000
"""More than one process can make: the sweeps never end, and most bring two points or three."""
FLAT_LANES = [[0]] * 16
BULK = 100
SLOW = 100
SLOW_LOOK_AFTER_S = 12.0
"""After the 10 s of grace and before the cut: those who read again find why they are closed."""
STALLED_S = 2.5
"""Until their sockets take no more; what the daemon wrote till then is no slow reader's cost."""
SLOW_SECONDS = 30.0
AWAY_S = 1.0
REPEATS = 2
BURST_GONE_S = 4.0
"""A connection may get 100 messages at once; what a longer while costs comes after them."""
KIB = 1024
UNBOUNDED = {
    # Flat out is measured without the message budget of a connection (10/s), which is not about it.
    "streams__messages_per_s": "100000",
    "streams__messages_burst": "100000",
    "streams__messages_per_minute": "6000000",
}


def measure() -> list[Figure]:
    with scratch() as site:
        with site.daemon() as daemon:
            figures = [*_commit_to_socket(daemon), *_ingest_beside(site, daemon)]
        with site.daemon(**UNBOUNDED) as daemon:
            figures.append(_fan_out(daemon, FEW, repeats=REPEATS))
            figures.append(_fan_out(daemon, MANY, repeats=1))
        # A fresh one: what a connection takes is not to be what another has left.
        with site.daemon(**UNBOUNDED) as daemon:
            return figures + _own_devices(daemon)


def _ask(*devices: int, **more: Any) -> dict[str, Any]:
    """A subscription to these devices, or to everything."""
    named = {"devices": [device_id(device) for device in devices]} if devices else {}
    return {"action": "subscribe", **named, **more}


# -- commit to socket ----------------------------------------------------------------------------


def _commit_to_socket(daemon: DaemonProcess) -> list[Figure]:
    """Each of 100 subscribers has its device, which gets 10 points/s: as much as the default budget
    lets through."""
    port, token = port_of(daemon), daemon.key
    lanes = [range(at, WATCHERS, 10) for at in range(10)]
    asks = [_ask(device) for device in range(WATCHERS)]
    with (
        crowd(port, asks, token=token) as watchers,
        publishing(
            port, lanes, token=token, per_s=WATCHED_PER_S, seconds=7.0, wants_answers=True
        ) as publisher,
    ):
        seen = watchers.count(warm_s=1.0, seconds=5.0, stamps=True)
        answered = dict(answers(publisher)["answered"])
    from_answer_s = [
        arrival - answered[stamp]
        for stamp, arrival in zip(seen.stamps_s.tolist(), seen.arrivals_s.tolist(), strict=True)
        if stamp in answered
    ]
    p99_s = max(0.0, float(np.percentile(from_answer_s, 99)))
    name = f"{WATCHERS} subscribers, {rate(round(len(seen.stamps_s) / seen.seconds, -1))} points"
    sent = bounded(f"{name}: sending to socket, p99", seen.percentile_s(99), most=0.025, show=ms)
    return [
        _beside(sent, f"from its answer: {ms(p99_s)}; p50 {ms(seen.percentile_s(50))}"),
    ]


# -- fan-out -------------------------------------------------------------------------------------


def _fan_out(daemon: DaemonProcess, connections: int, *, repeats: int) -> Figure:
    """Deliveries/s of one feed, flat out, beside a bare server that sends in a loop."""
    bare, ours = [], []
    per_s = FLAT_DELIVERIES_PER_S / connections
    for _ in range(repeats):
        with (
            fanout.served(connections) as (port, pid),
            crowd(port, [None] * connections) as everybody,
        ):
            bare.append(everybody.count(warm_s=1.0, seconds=2.5, server=pid))
        port, token, pid = port_of(daemon), daemon.key, daemon.process.pid
        with (
            crowd(port, [_ask(0)] * connections, token=token) as everybody,
            publishing(port, FLAT_LANES, token=token, per_s=per_s, seconds=6.0),
        ):
            ours.append(everybody.count(warm_s=1.5, seconds=2.5, server=pid))
    figure = at_least(
        f"deliveries, {connections:,} connections to one feed", median(c.per_s for c in ours),
        median(c.per_s for c in bare), least=0.8, show=rate, of="bare uvicorn",
    )  # fmt: skip
    points = median(c.points / c.frames for c in ours)
    cores = [median(c.per_core_s for c in counted) for counted in (ours, bare)]
    return _beside(
        figure,
        f"{figure.limit}; per core {rate(cores[0])} and {rate(cores[1])}; "
        f"{points:.1f} points in each of ours",
    )


# -- own devices ---------------------------------------------------------------------------------


def _own_devices(daemon: DaemonProcess) -> list[Figure]:
    """10,000 connections, each with a device of its own; some that never read beside them; and all
    of them coming back at once."""
    port, token = port_of(daemon), daemon.key
    lanes = [range(at, MANY, 4) for at in range(4)]
    options: dict[str, Any] = {"token": token, "per_s": MANY / BULK, "each": BULK}
    with publishing(port, lanes, seconds=2.0, **options) as publisher:
        # The devices are known before anybody listens.
        answers(publisher)
    before = _private_bytes(daemon)
    with crowd(port, [_ask(device) for device in range(MANY)], token=token) as everybody:
        each = (_private_bytes(daemon) - before) / MANY
        with publishing(port, lanes, seconds=90.0, **options):
            alone = everybody.count(warm_s=2.0, seconds=6.0, stamps=True)
            figures = [*_own_figures(alone, each), *_slow(daemon, everybody, alone)]
            return [*figures, _return(everybody)]


def _own_figures(alone: Counted, each_bytes: float) -> list[Figure]:
    points = rate(len(alone.stamps_s) / alone.seconds)
    name = f"{MANY:,} connections, each its device"
    return [
        _beside(
            bounded(f"{name}: p99", alone.percentile_s(99), most=0.1, show=ms),
            f"{points} points; p50 {ms(alone.percentile_s(50))}",
        ),
        bounded(f"{name}: memory of one", each_bytes, most=40 * KIB, show=_kib),
    ]


def _slow(daemon: DaemonProcess, everybody: Crowd, alone: Counted) -> list[Figure]:
    """100 more take everything and never read."""
    port, token = port_of(daemon), daemon.key
    before, at_s = _private_bytes(daemon), time.monotonic()
    time.sleep(3)
    growth_per_s = (_private_bytes(daemon) - before) / (time.monotonic() - at_s)
    with crowd(port, [_ask()] * SLOW, token=token, processes=1, is_slow=True) as slow:
        before, at_s = _private_bytes(daemon), time.monotonic()
        slow.begin("stall", seconds=SLOW_SECONDS, look_after_s=SLOW_LOOK_AFTER_S)
        beside = everybody.count(warm_s=STALLED_S, seconds=6.0, stamps=True)
        grown = growth_per_s * (time.monotonic() - at_s)
        each = max(0.0, _private_bytes(daemon) - before - grown) / SLOW
        unsent = established(port, SLOW_SOURCE)
        (told,) = slow.end()
    after = everybody.count(warm_s=0.5, seconds=6.0, stamps=True)
    # Before and after: what else the machine does is in both.
    without_s = float(np.percentile(np.concatenate([alone.delays_s, after.delays_s]), 99))
    is_told = told["told"] == told["lookers"] and not told["open"]
    said = f"{told['told']} of {told['lookers']} who looked read `gap`; codes {told['codes']}"
    closed = bounded(
        f"{told['of'] - told['open']} of {told['of']} slow ones closed within",
        told["seconds"], most=30,
        show=lambda seconds: f"{seconds:.1f} s",
    )  # fmt: skip
    return [
        at_most(
            "others' p99 beside 1 % who never read", beside.percentile_s(99),
            without_s, most=1.3, show=ms, of="without them, before and after",
        ),
        _beside(
            bounded("memory of a slow one", each, most=64 * KIB, show=_kib),
            f"in the kernel: {_kib(sum(unsent) / SLOW)}",
        ),
        _beside(closed, said, is_reached=bool(closed.is_reached and is_told)),
    ]  # fmt: skip


def _return(everybody: Crowd) -> Figure:
    """All connections are cut and come back with their cursors, while points go on coming."""
    everybody.begin("reconnect", away_s=AWAY_S)
    told = everybody.end()
    seconds = max(one["seconds"] for one in told)
    recovered = sum(one["recovered"] for one in told)
    gaps = sum(one["gaps"] for one in told)
    figure = bounded(
        f"{MANY:,} return at once with cursors", seconds, most=30, show=lambda s: f"{s:.1f} s"
    )
    is_whole = recovered == MANY and not gaps
    return _beside(
        figure,
        f"{recovered:,} recovered, {gaps} gaps",
        is_reached=bool(figure.is_reached and is_whole),
    )


# -- ingest --------------------------------------------------------------------------------------


def _ingest_beside(site: Site, daemon: DaemonProcess) -> list[Figure]:
    """Batches and single points of 1,000 devices, without and with a subscriber to each device.

    Of batches, which bring 100 points of a series at once, they take the newest once a second: that
    is the figure of ingest. Of single points they take each, which has no target.
    """
    port, token = port_of(daemon), daemon.key
    asks = {
        "batches": [_ask(device, max_frequency=1_000) for device in range(FEW)],
        "singles": [_ask(device) for device in range(FEW)],
    }
    found: dict[str, list[float]] = {}
    first_s = int(time.time()) - 30 * 86_400
    # All series are known before it begins.
    _ingested(port, token, "batches", first_s=first_s, warm_s=3.0)
    for _ in range(REPEATS):
        for is_heard, kind in product((False, True), asks):
            settle(site)
            first_s += 43_200
            warm_s = BURST_GONE_S if is_heard else 0.5
            with crowd(port, asks[kind] if is_heard else [], token=token):
                per_s = _ingested(port, token, kind, first_s=first_s, warm_s=warm_s)
            found.setdefault(f"{kind} {is_heard}", []).append(per_s)
    rows, singles = (
        at_least(
            f"{what} beside {FEW:,} subscribers", median(found[f"{kind} True"]),
            median(found[f"{kind} False"]), least=0.8, show=rate, of="without them",
        )
        for kind, what in {"batches": "rows", "singles": "single points"}.items()
    )  # fmt: skip
    # Every point is a frame of its own, and sending one costs half of what storing one does.
    return [rows, replace(singles, target="-", is_reached=None)]


def _ingested(port: int, token: str, kind: str, *, first_s: int, warm_s: float) -> float:
    """Points/s answered."""
    connections, points = (8, METRICS * TICKS_PER_BATCH) if kind == "batches" else (64, 1)
    sources = [
        {"kind": kind, "of": list(range(at, FEW, connections)), "first_s": first_s}
        for at in range(connections)
    ]
    sent = clients.send(port, sources, token=token, warm_s=warm_s, seconds=1.5)
    return sent.per_s * points


# -- what is read of the host ---------------------------------------------------------------------


def _private_bytes(daemon: DaemonProcess) -> int:
    """Memory that only the daemon's process has."""
    return int(psutil.Process(daemon.process.pid).memory_full_info().uss)


def _kib(size: float) -> str:
    return f"{size / KIB:.1f} KiB"


def _beside(figure: Figure, limit: str, *, is_reached: bool | None = None) -> Figure:
    """The figure with this text beside it."""
    reached = figure.is_reached if is_reached is None else is_reached
    return Figure(figure.name, figure.measured, limit, figure.ratio, figure.target, reached)
