"""Single points: 64 connections beside a route that only decodes, a lone one beside a commit."""

from __future__ import annotations

import time
from statistics import median

from bench import bare, clients, conventional
from bench.clients import Answers
from bench.figure import Figure, at_least, at_most, ms, rate
from bench.site import Site, port_of, scratch

CONNECTIONS = 64
REPEATS = 3
WARM_S = 0.5
SECONDS = 2.0
BACK_S = 10 * 86_400


def measure() -> list[Figure]:
    many: list[Answers] = []
    bare_many: list[Answers] = []
    lone_s: list[float] = []
    commit_s: list[float] = []
    with scratch() as site, site.daemon() as daemon, bare.served() as bare_port:
        port, token = port_of(daemon), daemon.key
        for turn in range(REPEATS):
            first_s = int(time.time()) - BACK_S + turn * 86_400
            bare_many.append(_send(bare_port, first_s, connections=CONNECTIONS))
            many.append(_send(port, first_s, connections=CONNECTIONS, token=token))
            lone = _send(port, first_s + 43_200, connections=1, token=token)
            lone_s.append(lone.percentile_s(50))
            commit_s.append(_commits(site, first_s).percentile_s(50))
    return [
        at_least(
            "single points, 64 connections", median(a.per_s for a in many),
            median(a.per_s for a in bare_many), least=0.5, show=rate, of="bare ASGI decoding",
        ),
        at_most(
            "their p99", median(a.percentile_s(99) for a in many),
            median(a.percentile_s(50) for a in many), most=3, show=ms, of="their p50",
        ),
        at_most(
            "one lone point, p50", median(lone_s), median(commit_s), most=3, show=ms,
            of="one bare commit",
        ),
    ]  # fmt: skip


def _send(port: int, first_s: int, *, connections: int, token: str = "") -> Answers:
    sources = [
        {"kind": "singles", "of": [number], "first_s": first_s} for number in range(connections)
    ]
    return clients.send(port, sources, token=token, warm_s=WARM_S, seconds=SECONDS)


def _commits(site: Site, first_s: int) -> Answers:
    """One row a transaction, one after the other."""
    conventional.create(site)
    task = {"kind": "commit", "first_s": first_s}
    spec = {"dsn": site.dsn, "connections": 1, "task": task, "warm_s": 0.2, "seconds": 1.0}
    return clients.measure("conventional", [spec])
