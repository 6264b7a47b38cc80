"""A client process of the streams' figures: sends points whose value is the time of sending, and
reports when each was answered.

The clock is the host's monotonic one, which all processes share (clock_gettime(2)).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import uvloop
from bench.bodies import device_id, request
from bench.load import CONNECT_TIMEOUT_S, Connection, Tally

METRIC = "stamp"


class Publisher(Connection):
    """Sends at its pace; `answered` holds (stamp, time of the answer)."""

    def __init__(self, stamped: Iterator[tuple[float, bytes]], tally: Tally, pace_s: float) -> None:
        super().__init__(self._requests(stamped), tally, interval_s=pace_s)
        self.answered: list[tuple[float, float]] = []
        self._stamp = 0.0

    def _requests(self, stamped: Iterator[tuple[float, bytes]]) -> Iterator[bytes]:
        for self._stamp, body in stamped:
            yield body

    def _answered(self) -> None:
        self.answered.append((self._stamp, time.perf_counter()))
        super()._answered()


def singles(devices: list[int], token: str) -> Iterator[tuple[float, bytes]]:
    """One point a request, device after device; made when it is sent."""
    while True:
        for device in devices:
            stamp = _now_s()
            path = f"/devices/{device_id(device)}/telemetry"
            yield stamp, request("POST", path, token=token, body=_point(stamp).encode())


def columns(devices: list[int], token: str, each: int) -> Iterator[tuple[float, bytes]]:
    """One point of each of `each` devices a request."""
    names = [device_id(device) for device in devices]
    while True:
        for at in range(0, len(names), each):
            stamp, at_us = _now_s(), time.time_ns() // 1000
            rest = f'"metric_name":"{METRIC}","timestamps":[{at_us}],"values":[{stamp:.6f}]'
            series = ",".join(f'{{"device_id":"{name}",{rest}}}' for name in names[at : at + each])
            body = f'{{"series":[{series}]}}'.encode()
            yield stamp, request("POST", "/columns", token=token, body=body)


def _now_s() -> float:
    """As it reads when it comes back: to the microsecond."""
    return round(time.perf_counter(), 6)


def _point(stamp: float) -> str:
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return f'{{"timestamp":"{at}","metric_name":"{METRIC}","value":{stamp:.6f},"unit":"s"}}'


async def run(spec: dict[str, Any]) -> None:
    """`lanes`: the devices of each connection; `each` points a request; `per_s` requests of all."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    lanes = spec["lanes"]
    pace_s = len(lanes) / spec["per_s"]
    publishers = []
    for devices in lanes:
        each = spec.get("each", 1)
        made = (
            singles(devices, spec["token"]) if each == 1 else columns(devices, spec["token"], each)
        )
        publisher = Publisher(made, tally, pace_s)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_connection(lambda p=publisher: p, "127.0.0.1", spec["port"])  # type: ignore[misc]
        publishers.append(publisher)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    tally.end_s = time.perf_counter() + spec["seconds"]
    for at, publisher in enumerate(publishers):
        # Not all in the same moment.
        loop.call_later(pace_s * at / len(publishers), publisher.begin)
    await asyncio.gather(*(publisher.done for publisher in publishers))
    answered = [pair for publisher in publishers for pair in publisher.answered]
    told = {"requests": tally.requests, "failure": tally.first_failure}
    print(json.dumps(told | {"answered": answered if spec.get("wants_answers") else []}))


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.readline())))
