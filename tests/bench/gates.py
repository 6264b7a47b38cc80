"""What the gates cost and hold: auth, limits, log and counters on a point; health; a hundred
clients and a thousand; floods of addresses and of unknown keys; slow clients."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import psutil
import slow_clients
from bench import clients
from bench.figure import Figure, at_most, bounded, ms, rate
from bench.site import Site, port_of, scratch
from daemons import DaemonProcess, start_daemon
from servers import start_server, wheel_bindir
from slow_clients import Attack, attacking

CONNECTIONS = 64
TURNS = 4
CROWDS = (100, 1_000)
MIX = ("write", "write", "write", "latest", "latest", "metrics", "range", "write")
FLOOD = 1_000_000
"""Of addresses, and of unknown keys."""
FLOOD_WARM = 30_000
ATTACKERS = 700
"""Of each kind."""
ATTACKERS_PER_S = 50
"""Connections that each opens in a second: what slowhttptest does when it is not told otherwise."""
SLOW_S = 30
NOT_EXEMPT = {"limits__exempt_networks": "[]"}
PRO = {"limits__pro": json.dumps({"points_per_s": 10_000_000, "query_per_hour": 0})}
QUIET = {"log__requests": "slow_and_errors"}
"""Where the bench reads the log of answers that are meant to be refused, it is what is measured."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What visitors saw."""

    answers: Counter[int]
    lost: int
    seconds: float
    latencies_s: npt.NDArray[np.float64]

    @property
    def per_s(self) -> float:
        return sum(self.answers.values()) / self.seconds

    @property
    def failed(self) -> float:
        """The share that was not answered as it should."""
        wrong = sum(n for status, n in self.answers.items() if status not in (200, 304))
        return (wrong + self.lost) / max(1, sum(self.answers.values()) + self.lost)

    def percentile_s(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent))


def measure() -> list[Figure]:
    found = [*_cost_of_the_gate(), *_health(), *_crowd(), *_floods()]
    return [*found, *_slow_clients()]


# -- visitors ----------------------------------------------------------------------------------


def visit(port: int, mix: Sequence[str], *, visitors: int, **options: Any) -> Seen:
    """Visit to the end; options as of visitors.py, and `processes`."""
    with visiting(port, mix, visitors=visitors, **options) as running:
        return seen_by(running)


@contextmanager
def visiting(
    port: int, mix: Sequence[str], *, visitors: int, processes: int = 2, **options: Any
) -> Iterator[list[subprocess.Popen[str]]]:
    spec = {"port": port, "mix": mix, "tokens": [], "first_s": int(time.time()) - 3_000} | options
    if "rate_per_s" in options:
        spec["rate_per_s"] = options["rate_per_s"] / processes
    numbers = [list(range(visitors))[at::processes] for at in range(processes)]
    specs = [spec | {"visitors": some} for some in numbers]
    with clients.running("visitors", specs) as running:
        yield running


def seen_by(running: Sequence[subprocess.Popen[str]]) -> Seen:
    told = [json.loads(clients.said(process)) for process in running]
    answers: Counter[int] = Counter()
    for one in told:
        answers.update({int(status): n for status, n in one["answers"].items()})
    latencies = np.concatenate([np.array(one["latencies_us"], np.float64) for one in told])
    return Seen(answers, sum(one["lost"] for one in told), told[0]["seconds"], latencies / 1e6)


def cpu_s(daemon: DaemonProcess) -> float:
    """What the daemon's own process has computed so far."""
    times = psutil.Process(daemon.process.pid).cpu_times()
    return float(times.user + times.system)


def key_of_tier(daemon: DaemonProcess, tier: str) -> str:
    asked = {"name": f"bench-{tier}", "scopes": ["ingest", "read"], "tier": tier}
    with daemon.http() as http:
        made = http.post("/keys", json=asked)
        made.raise_for_status()
        return str(made.json()["key"])


# -- the cost of the gate ----------------------------------------------------------------------


def _cost_of_the_gate() -> list[Figure]:
    """Single points of a key with a limit, beside a daemon that asks, counts and logs nothing."""
    costs: dict[str, list[float]] = {"gated": [], "open": []}
    rates: dict[str, list[float]] = {"gated": [], "open": []}
    settings = NOT_EXEMPT | PRO
    with (
        scratch() as one, scratch() as other,
        one.daemon(**settings) as gated, other.daemon(**settings, sabotage="no_gate") as opened,
    ):  # fmt: skip
        tokens = {"gated": key_of_tier(gated, "pro"), "open": opened.key}
        for turn in range(TURNS + 1):
            first_s = int(time.time()) - 10 * 86_400 + turn * 40_000
            for name, daemon in (("gated", gated), ("open", opened)):
                sources = [
                    {"kind": "singles", "of": [number], "first_s": first_s}
                    for number in range(CONNECTIONS)
                ]
                before_s = cpu_s(daemon)
                answers = clients.send(port_of(daemon), sources, token=tokens[name], seconds=1.5)
                if turn:  # The first one warms up.
                    costs[name].append((cpu_s(daemon) - before_s) / answers.requests)
                    rates[name].append(answers.per_s)
    gated_s, open_s = median(costs["gated"]), median(costs["open"])
    return [
        at_most(
            "the gate on single points: computing for each", gated_s, open_s, most=1.25,
            show=_us, of="without it",
        ),
        at_most(
            "the same: points/s without it", median(rates["open"]), median(rates["gated"]),
            most=1.25, show=rate, of="with it",
        ),
    ]  # fmt: skip


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs"


# -- health ------------------------------------------------------------------------------------


def _health() -> list[Figure]:
    """p99 of /health beside clients that ask and write as fast as they can; then with a database
    that stands still, and with none."""
    server = start_server(wheel_bindir(), fsync=True)
    try:
        daemon = start_daemon(_database_of(server.dsn()), log__requests="slow_and_errors")
        load: dict[str, Any] = {"tokens": [daemon.key], "seconds": 18.0, "visitors": CONNECTIONS}
        mix = (*MIX, "batch")
        with visiting(port_of(daemon), mix, **load) as running:
            time.sleep(2)
            calm = _asked_for_health(daemon)
            _signal_all(server.process.pid, signal.SIGSTOP)
            still = _asked_for_health(daemon, wait_s=4.0)
            _signal_all(server.process.pid, signal.SIGKILL)
            gone = _asked_for_health(daemon, wait_s=1.0)
            loaded = seen_by(running)
        daemon.kill()
    finally:
        server.stop()
    names = ("full load", "the database stands still", "the database is gone")
    states = ({200}, {503}, {503})
    figures = []
    for name, seen, wanted in zip(names, (calm, still, gone), states, strict=True):
        figure = bounded(f"/health, p99: {name}", seen.percentile_s(99), most=0.020, show=ms)
        is_right = set(seen.answers) == wanted and not seen.lost
        note = f"answers {dict(seen.answers)}, p50 {ms(seen.percentile_s(50))}"
        figures.append(_noted(figure, note, is_right=is_right))
    return [*figures[:1], *figures[1:], _info("their load", rate(loaded.per_s))]


def _asked_for_health(daemon: DaemonProcess, *, wait_s: float = 0.0) -> Seen:
    time.sleep(wait_s)
    return visit(
        port_of(daemon), ["health"], visitors=4, processes=1, rate_per_s=400.0, seconds=3.0
    )


def _database_of(dsn: str) -> str:
    """A database of our own on the server, which the daemon fills."""

    async def make() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("create database gates")
        finally:
            await connection.close()

    asyncio.run(make())
    return dsn.replace("/postgres?", "/gates?")


def _signal_all(pid: int, number: signal.Signals) -> None:
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        process.send_signal(number)


# -- a crowd -----------------------------------------------------------------------------------


def _crowd() -> list[Figure]:
    """A hundred clients, then a thousand: first as fast as they can, then half as fast as that."""
    return [figure for clients in CROWDS for figure in _crowd_of(clients)]


def _crowd_of(visitors: int) -> list[Figure]:
    with scratch() as site, site.daemon(**QUIET) as daemon:
        port, tokens = port_of(daemon), [daemon.key]
        # Every series is there before.
        visit(port, ["write"], visitors=visitors, tokens=tokens, seconds=6.0)
        options: dict[str, Any] = {"visitors": visitors, "tokens": tokens, "warm_s": 2.0}
        most = visit(port, MIX, seconds=6.0, **options)
        half = visit(port, MIX, seconds=10.0, rate_per_s=most.per_s / 2, **options)
    asked = f"of {rate(most.per_s)}, at which {most.failed:.2%} fail"
    p95 = bounded(f"{visitors:,} clients at half the rate, p95", half.percentile_s(95), most=0.100,
                  show=ms)  # fmt: skip
    errors = f"{half.failed:.3%} of {sum(half.answers.values()):,}"
    others = f"p50 {ms(half.percentile_s(50))}, p99 {ms(half.percentile_s(99))}"
    return [
        _noted(p95, f"{rate(half.per_s)} {asked}; {others}"),
        Figure("their errors", errors, str(dict(half.answers)), "-", "< 0.1%", half.failed < 0.001),
    ]


# -- floods ------------------------------------------------------------------------------------


def _floods() -> list[Figure]:
    """Requests that each come from another address, and with another key that nobody was given."""
    found = []
    settings = NOT_EXEMPT | QUIET | {"server__trusted_proxies": '["127.0.0.0/8"]'}
    for kind, of in (("address", "spoofed addresses"), ("unknown_key", "unknown keys")):
        with scratch() as site, site.daemon(**settings) as daemon:
            _flood(daemon, kind, FLOOD_WARM)
            idle_per_s = _lookups_per_s(site, lambda: time.sleep(3))
            before, sent = _memory_bytes(daemon), 0

            def flood(kind: str = kind, daemon: DaemonProcess = daemon) -> None:
                nonlocal sent
                sent = _flood(daemon, kind, FLOOD)

            per_s = _lookups_per_s(site, flood) - idle_per_s
            grown = _memory_bytes(daemon) - before
        mb = bounded(f"{sent:,} {of}: memory", grown / 1e6, most=20, show=lambda n: f"{n:.1f} MB")
        looked = bounded("their look-ups in the database", per_s, most=100, show=rate)
        found += [mb, _noted(looked, f"idle: {rate(idle_per_s)}")]
    return found


def _flood(daemon: DaemonProcess, kind: str, count: int) -> int:
    """Send at least so many; returns how many were answered."""
    sent = 0
    while sent < count:
        seconds = min(30.0, max(2.0, (count - sent) / 8_000))
        seen = visit(port_of(daemon), [kind], visitors=CONNECTIONS, seconds=seconds)
        assert set(seen.answers) <= {401, 429, 503}, seen.answers
        sent += sum(seen.answers.values())
    return sent


def _lookups_per_s(site: Site, work: Any) -> float:
    """Transactions of the database a second meanwhile; one statement of a daemon is one or less."""
    query = "select xact_commit + xact_rollback from pg_stat_database where datname = $1"
    name = site.ask("select current_database()")[0][0]
    # A backend tells its counters when it rests, at most once a second.
    time.sleep(1.5)
    before, begun_s = site.ask(query, name)[0][0], time.monotonic()
    work()
    time.sleep(1.5)
    return float(site.ask(query, name)[0][0] - before) / (time.monotonic() - begun_s)


def _memory_bytes(daemon: DaemonProcess) -> int:
    """Private memory of the daemon's own process."""
    time.sleep(1.0)
    return int(psutil.Process(daemon.process.pid).memory_full_info().uss)


# -- slow clients ------------------------------------------------------------------------------


def _slow_clients() -> list[Figure]:
    """p95 of clients beside slowhttptest with its three attacks at once, and without it."""
    if not slow_clients.is_installed():
        return [_info("p95 beside slow clients", slow_clients.MISSING)]
    with scratch() as site, site.daemon(**QUIET) as daemon:
        options: dict[str, Any] = {
            "tokens": [daemon.key], "visitors": 50, "rate_per_s": 300.0, "warm_s": 1.0
        }  # fmt: skip
        port = port_of(daemon)
        with daemon.http() as http:
            # It is made when it is asked for first, once in the life of a daemon.
            http.get(f"{daemon.url}/api/openapi.json")
        visit(port, MIX, seconds=3.0, **options)
        before = visit(port, MIX, seconds=SLOW_S / 2, **options)
        attacks = [
            Attack(kind, ATTACKERS, SLOW_S + 30, ATTACKERS_PER_S)
            for kind in ("header", "body", "read")
        ]
        begun_s = time.monotonic()
        with attacking(daemon.url, attacks):
            during = visit(port, MIX, seconds=SLOW_S, **options)
            closed_s = _closed_after_s(daemon, begun_s)
        after = visit(port, MIX, seconds=SLOW_S / 2, **options)
    calm_s = (before.percentile_s(95) + after.percentile_s(95)) / 2
    p95 = at_most(f"p95 beside {3 * ATTACKERS:,} slow clients", during.percentile_s(95), calm_s,
                  most=1.5, show=ms, of="without them")  # fmt: skip
    closed = bounded(
        "all of them closed after the last came", closed_s - ATTACKERS / ATTACKERS_PER_S,
        most=35, show=lambda s: f"{s:.0f} s",
    )  # fmt: skip
    note = f"{during.failed:.3%} of the others' requests failed"
    return [p95, _noted(closed, note, is_right=during.failed == 0)]


def _closed_after_s(daemon: DaemonProcess, begun_s: float) -> float:
    """When no more connections than our own few are left."""
    process = psutil.Process(daemon.process.pid)
    while time.monotonic() < begun_s + 120:
        if sum(one.status == "ESTABLISHED" for one in process.net_connections("tcp")) < 20:
            return time.monotonic() - begun_s
        time.sleep(0.5)
    return time.monotonic() - begun_s


def _noted(figure: Figure, limit: str, *, is_right: bool = True) -> Figure:
    reached = bool(figure.is_reached) and is_right
    return Figure(figure.name, figure.measured, limit, figure.ratio, figure.target, reached)


def _info(name: str, measured: str) -> Figure:
    return Figure(name, measured, "-", "-", "-", None)
