"""A client process whose connections take whatever answer comes, and count it.

Orders and report are lines of JSON, as in load.py. `mix` names what each connection asks for in
turn; with `rate_per_s` all of them together ask so often, else each asks again at once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uvloop
from bench import bodies

from daemon.domain.tokens import new_token

API = bodies.API
RANGE = "range?time_range=1h"


@dataclass
class Tally:
    """What all connections of this process saw in the window; `lost` got no answer."""

    start_s: float = 0.0
    end_s: float = float("inf")
    answers: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    latencies_us: list[int] = field(default_factory=list)


class Visitor(asyncio.Protocol):
    """One request at a time over one connection, which is opened again when it was closed."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, *, interval_s: float) -> None:
        self.requests = requests
        self.tally = tally
        self.interval_s = interval_s
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.port = 0
        self._received = bytearray()
        self._length = 0
        self._is_waiting = False
        self._due_s = self._sent_s = 0.0
        self._transport: Any = None

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received.clear()
        self._length = 0

    def begin(self) -> None:
        """Somewhere in the first interval, so that visitors do not come together."""
        loop = asyncio.get_running_loop()
        self._due_s = time.perf_counter() + random.random() * self.interval_s
        loop.call_later(self._due_s - time.perf_counter(), self.send)

    def send(self) -> None:
        now_s = time.perf_counter()
        if now_s >= self.tally.end_s:
            self._finish()
            return
        # Who is late was kept waiting: that counts.
        self._sent_s = self._due_s if self.interval_s else now_s
        self._is_waiting = True
        self._transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._length:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            at = received.find(b"content-length: ")
            length = 0 if not 0 <= at < end else int(received[at + 16 : received.find(b"\r", at)])
            self._length = end + 4 + length
        if len(received) >= self._length:
            self._answered()

    def _answered(self) -> None:
        now_s, tally = time.perf_counter(), self.tally
        self._is_waiting = False
        if tally.start_s <= now_s < tally.end_s:
            tally.answers[int(self._received[9:12])] += 1
            tally.latencies_us.append(round((now_s - self._sent_s) * 1e6))
        self._received.clear()
        self._length = 0
        self._next(now_s)

    def _next(self, now_s: float) -> None:
        self._due_s += self.interval_s
        if self.interval_s and self._due_s > now_s:
            asyncio.get_running_loop().call_later(self._due_s - now_s, self.send)
        else:
            self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.done.done():
            return
        now_s = time.perf_counter()
        if self._is_waiting:
            self.tally.lost += 1
        if now_s >= self.tally.end_s:
            self._finish()
        else:
            self._again = asyncio.ensure_future(self._return())

    async def _return(self) -> None:
        try:
            await asyncio.sleep(0.05)
            await self.connect()
            self.send()
        except OSError:
            self.tally.lost += 1
            self._again = asyncio.ensure_future(self._return())

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
            self._transport.close()


# -- what they ask for -------------------------------------------------------------------------


def requests_of(number: int, spec: dict[str, Any]) -> Iterator[bytes]:
    """The requests of one visitor, endless."""
    tokens = spec["tokens"]
    token = tokens[number % len(tokens)] if tokens else ""
    parts = {kind: _KINDS[kind](number, spec["first_s"], token) for kind in set(spec["mix"])}
    order = itertools.cycle(spec["mix"])
    for _ in range(number % len(spec["mix"])):
        next(order)
    return (next(parts[kind]) for kind in order)


def _writes(number: int, first_s: int, token: str) -> Iterator[bytes]:
    return bodies.singles([number], first_s=first_s, token=token)


def _batches(number: int, first_s: int, token: str) -> Iterator[bytes]:
    return bodies.batches([number], first_s=first_s, token=token)


def _latest(number: int, _first_s: int, token: str) -> Iterator[bytes]:
    path = f"/devices/{bodies.device_id(number)}/metrics/{bodies.metric_name(0)}/latest"
    return itertools.repeat(bodies.request("GET", path, token=token))


def _ranges(number: int, _first_s: int, token: str) -> Iterator[bytes]:
    path = f"/devices/{bodies.device_id(number)}/metrics/{bodies.metric_name(0)}/{RANGE}"
    return itertools.repeat(bodies.request("GET", path, token=token))


def _metrics(number: int, _first_s: int, token: str) -> Iterator[bytes]:
    path = f"/devices/{bodies.device_id(number)}/metrics"
    return itertools.repeat(bodies.request("GET", path, token=token))


def _long_reads(_number: int, first_s: int, token: str) -> Iterator[bytes]:
    """A week of all series as percentiles: nothing that was computed before helps."""
    span = first_s, first_s + 7 * 86_400
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%FT%TZ") for at in span)
    asked = {"metrics": [bodies.metric_name(m) for m in range(bodies.METRICS)], "start_time": start,
             "end_time": end, "aggregation": "p95", "interval": 3600, "limit": 10_000}  # fmt: skip
    return bodies.reads([("POST", "/query", json.dumps(asked))], token=token)


def _health(_number: int, _first_s: int, _token: str) -> Iterator[bytes]:
    return itertools.repeat(b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n")


def _addresses(number: int, _first_s: int, _token: str) -> Iterator[bytes]:
    """Each from an address of its own, as a proxy tells it, and without a key."""
    head = f"POST {API}/devices/d/telemetry HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n"
    for at in itertools.count(number * 1_000_003):
        address = ".".join(str(at * 2_654_435_761 >> shift & 255) for shift in (24, 16, 8, 0))
        yield f"{head}X-Forwarded-For: {address}\r\n\r\n".encode()


def _unknown_keys(_number: int, _first_s: int, _token: str) -> Iterator[bytes]:
    """Each with a key of its own, well made, that nobody was given."""
    head = f"POST {API}/devices/d/telemetry HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n"
    while True:
        token = new_token(f"key_{random.getrandbits(80):026d}", env="live")
        yield f"{head}X-Api-Key: {token}\r\n\r\n".encode()


_KINDS = {
    "write": _writes,
    "batch": _batches,
    "latest": _latest,
    "range": _ranges,
    "metrics": _metrics,
    "long": _long_reads,
    "health": _health,
    "address": _addresses,
    "unknown_key": _unknown_keys,
}


async def run(spec: dict[str, Any]) -> None:
    """Connect all, say `ready`, wait for a line, visit for warm_s + seconds, and report."""
    tally = Tally()
    rate = spec.get("rate_per_s", 0.0)
    interval_s = len(spec["visitors"]) / rate if rate else 0.0
    visitors = []
    for number in spec["visitors"]:
        visitor = Visitor(requests_of(number, spec), tally, interval_s=interval_s)
        visitor.port = spec["port"]
        await visitor.connect()
        visitors.append(visitor)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    tally.start_s = time.perf_counter() + spec.get("warm_s", 0.0)
    tally.end_s = tally.start_s + spec["seconds"]
    for visitor in visitors:
        visitor.begin()
    # Some may wait for an answer that does not come.
    await asyncio.wait([v.done for v in visitors], timeout=spec["seconds"] + 5)
    report = {
        "answers": tally.answers, "lost": tally.lost, "latencies_us": tally.latencies_us,
        "seconds": spec["seconds"],
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.readline())))
