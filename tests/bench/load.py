"""A client process: sends pre-encoded requests over raw sockets and times the answers.

One request at a time per connection. Its orders come as one JSON line on standard input, its report
leaves as one on standard output (see clients.py).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop
from bench import bodies

CONNECT_TIMEOUT_S = 10


@dataclass
class Tally:
    """What all connections of this process saw; latencies only of answers inside the window."""

    start_s: float = 0.0
    end_s: float = float("inf")
    requests: int = 0
    answer_bytes: int = 0
    first_failure: str = ""
    last_s: float = 0.0
    latencies_us: list[int] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One request in flight at a time; ends when its requests or the window end."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, *, interval_s: float = 0.0) -> None:
        self.requests = requests
        self.tally = tally
        self.interval_s = interval_s
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = bytearray()
        self._length = 0
        self._sent_s = self._due_s = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def begin(self) -> None:
        self._due_s = time.perf_counter()
        self.send()

    def send(self) -> None:
        request = next(self.requests, None)
        now_s = time.perf_counter()
        if request is None or now_s >= self.tally.end_s or self.tally.first_failure:
            self.finish()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._length:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            at = received.find(b"content-length: ") + 16
            self._length = end + 4 + int(received[at : received.find(b"\r", at)])
        if len(received) >= self._length:
            self._answered()

    def _answered(self) -> None:
        now_s = time.perf_counter()
        tally = self.tally
        if self._received[9:12] != b"200":
            tally.first_failure = tally.first_failure or self._received[:600].decode("latin-1")
        elif tally.start_s <= now_s < tally.end_s:
            tally.requests += 1
            tally.answer_bytes += self._length
            tally.last_s = now_s
            tally.latencies_us.append(round((now_s - self._sent_s) * 1e6))
        self._received.clear()
        self._length = 0
        self._due_s += self.interval_s
        if self.interval_s and self._due_s > now_s:
            asyncio.get_running_loop().call_later(self._due_s - now_s, self.send)
        else:
            self.send()

    def finish(self) -> None:
        self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            if self._length or self._received:
                self.tally.first_failure = "the connection was closed in an answer"
            self.done.set_result(None)


def requests_of(source: dict[str, Any], token: str) -> Iterator[bytes]:
    """The requests of one connection; `source` names a function of bodies.py and its arguments."""
    make = getattr(bodies, source["kind"])
    arguments = {key: value for key, value in source.items() if key not in ("kind", "of")}
    return iter(make(source["of"], token=token, **arguments))


async def run(spec: dict[str, Any]) -> None:
    """Connect, say `ready`, wait for a line; work for warm_s + seconds or to the requests' end."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    connections = []
    for source in spec["sources"]:
        requests = requests_of(source, spec["token"])
        connection = Connection(requests, tally, interval_s=spec.get("interval_s", 0.0))
        await loop.create_connection(lambda c=connection: c, "127.0.0.1", spec["port"])  # type: ignore[misc]
        connections.append(connection)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    begun_s = time.perf_counter()
    tally.start_s = begun_s + spec.get("warm_s", 0.0)
    if "seconds" in spec:
        tally.end_s = tally.start_s + spec["seconds"]
    for connection in connections:
        connection.begin()
    await asyncio.gather(*(connection.done for connection in connections))
    elapsed_s = spec.get("seconds") or tally.last_s - tally.start_s
    print(
        json.dumps(
            {
                "requests": tally.requests,
                "answer_bytes": tally.answer_bytes,
                "elapsed_s": elapsed_s,
                "failure": tally.first_failure,
                "latencies_us": tally.latencies_us,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.readline())))
