"""A load of writers that remember what they were told, and the check that the daemon kept its word.

Every writer has a device of its own and one request under way, and repeats a request until it
knows the outcome, so what must be stored is exact: for each key the value of its last request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from daemons import API, DaemonProcess

from daemon.domain.block import unpack
from daemon.domain.times import parse_time

Key = tuple[str, str, int]
"""Device, metric, microseconds."""


@dataclass
class Attempt:
    """One request as the writer saw it; status 0 when there was no answer.

    `is_refused` says that it was never taken: no connection, or a kept one closed while idle.
    """

    status: int
    began_s: float
    took_s: float
    code: str = ""
    retry_after: str | None = None
    is_refused: bool = False


@dataclass
class Load:
    """Writers of these forms of ingest; `url` may change while they run (a restarted daemon).

    With `gives_up` a request without an answer is not repeated.
    """

    url: str
    key: str
    acknowledged: dict[Key, float] = field(default_factory=dict)
    batches: dict[str, list[Key]] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    patience_s: float = 120.0
    gives_up: bool = False
    prefix: str = "writer"
    forms: Sequence[str] = ("single", "batch", "columns", "bulk")
    is_stopping: bool = False
    _started_us: int = field(default_factory=lambda: time.time_ns() // 1000 - 600_000_000)

    def point_to(self, daemon: DaemonProcess) -> None:
        self.url, self.key = daemon.url, daemon.key

    def statuses(self) -> Counter[int]:
        return Counter(attempt.status for attempt in self.attempts)

    @asynccontextmanager
    async def running(self, *, writers: int = 8) -> AsyncIterator[Load]:
        """Write until the end of the block; then every request still under way gets its outcome."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(writers):
                tasks.create_task(self._write(number))
            try:
                yield self
            finally:
                self.is_stopping = True

    async def wait_for(self, count: int, *, timeout_s: float = 100) -> None:
        """Until so many more requests were acknowledged."""
        wanted = self.statuses()[200] + count
        async with asyncio.timeout(timeout_s):
            while self.statuses()[200] < wanted:
                await asyncio.sleep(0.02)

    async def _write(self, number: int) -> None:
        make = getattr(self, f"_{self.forms[number % len(self.forms)]}")
        device = f"{self.prefix}_{number}"
        turn = 0
        async with httpx.AsyncClient(timeout=30) as http:
            while not self.is_stopping:
                path, body, points = make(device, turn)
                await self._insist(http, path, body, points)
                turn += 1

    async def _insist(
        self, http: httpx.AsyncClient, path: str, body: dict[str, Any], points: dict[Key, float]
    ) -> None:
        """Repeat the request until its outcome is known."""
        deadline = time.monotonic() + self.patience_s
        while True:
            attempt = await self._try(http, path, body)
            self.attempts.append(attempt)
            if attempt.status == 200:
                self.acknowledged.update(points)
                if "batch_id" in body:
                    self.batches[body["batch_id"]] = list(points)
                return
            if 400 <= attempt.status < 500:
                self.refused.append((path, attempt.status, attempt.code))
                return
            if self.gives_up:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"no outcome of {path}: {self.attempts[-5:]}")
            await asyncio.sleep(0.05)

    async def _try(self, http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Attempt:
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            answer = await http.post(
                f"{self.url}{API}{path}", content=json.dumps(body), headers=headers
            )
        except httpx.TransportError as error:
            # Before its answer a server may close an idle connection; nothing was read of it then.
            is_refused = isinstance(error, httpx.ConnectError)
            return Attempt(0, began, time.monotonic() - began, is_refused=is_refused)
        took = time.monotonic() - began
        is_problem = "problem" in answer.headers.get("content-type", "")
        code = answer.json()["code"] if is_problem else ""
        return Attempt(answer.status_code, began, took, code, answer.headers.get("retry-after"))

    # -- the forms ---------------------------------------------------------------------------

    def _time_us(self, turn: int, at: int = 0) -> int:
        # Every tenth request corrects the points of the one before it.
        place = turn - 1 if turn % 10 == 9 else turn
        return self._started_us + (place * 1000 + at) * 20

    def _single(self, device: str, turn: int) -> tuple[str, dict[str, Any], dict[Key, float]]:
        time_us = self._time_us(turn)
        body = _point("speed", time_us, turn)
        return f"/devices/{device}/telemetry", body, {(device, "speed", time_us): float(turn)}

    def _batch(self, device: str, turn: int) -> tuple[str, dict[str, Any], dict[Key, float]]:
        points = {(device, "load", self._time_us(turn, at)): turn + at / 64 for at in range(50)}
        body = {
            "batch_id": f"{device}-{turn}",
            "data_points": [_point(m, t, v) for (_, m, t), v in points.items()],
        }
        return f"/devices/{device}/telemetry/batch", body, points

    def _columns(self, device: str, turn: int) -> tuple[str, dict[str, Any], dict[Key, float]]:
        points = {
            (device, f"c{at % 4}", self._time_us(turn, at)): turn + at / 256 for at in range(200)
        }
        series = [
            {
                "device_id": device,
                "metric_name": f"c{lane}",
                "timestamps": [t for (_, m, t) in points if m == f"c{lane}"],
                "values": [v for (_, m, _), v in points.items() if m == f"c{lane}"],
            }
            for lane in range(4)
        ]
        return "/columns", {"batch_id": f"{device}-{turn}", "series": series}, points

    def _bulk(self, device: str, turn: int) -> tuple[str, dict[str, Any], dict[Key, float]]:
        points = {
            (f"{device}_{at % 3}", "level", self._time_us(turn, at)): turn + at / 64
            for at in range(30)
        }
        body: dict[str, Any] = {}
        for (name, metric, time_us), value in points.items():
            body.setdefault(name, []).append(_point(metric, time_us, value))
        return "/bulk", body, points


def _point(metric: str, time_us: int, value: float) -> dict[str, Any]:
    second, micros = divmod(time_us, 1_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return {"timestamp": f"{stamp}.{micros:06}Z", "metric_name": metric, "value": value}


# -- the check -----------------------------------------------------------------------------------


async def journal_counts(dsn: str) -> Counter[tuple[Key, float]]:
    """How often each point with this very value stands in the journal."""
    return Counter(await journal_points(dsn))


async def journal_points(dsn: str) -> list[tuple[Key, float]]:
    """Every point of the journal, in commit order."""
    connection = await asyncpg.connect(dsn)
    try:
        names = {
            row["series_id"]: (row["device_id"], row["metric_name"])
            for row in await connection.fetch(
                "select series_id, device_id, metric_name from telemetry.series"
            )
        }
        found: list[tuple[Key, float]] = []
        for row in await connection.fetch("select body from telemetry.journal order by seq"):
            block = unpack(row["body"])
            columns = (block.series_ids.tolist(), block.times_us.tolist(), block.numbers.tolist())
            for series_id, time_us, value in zip(*columns, strict=True):
                found.append(((*names[series_id], time_us), value))
    finally:
        await connection.close()
    return found


def read_all(daemon: DaemonProcess) -> dict[Key, float]:
    """Every point as the daemon answers it, page by page; fails when a key comes twice."""
    found: dict[Key, float] = {}
    with daemon.http() as http:
        body: dict[str, Any] = {
            "metrics": ["speed", "load", "c0", "c1", "c2", "c3", "level"],
            "start_time": time.time() - 86_400,
            "end_time": time.time() + 600,
            "limit": 10_000,
        }
        while True:
            answer = http.post("/query", json=body)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for point in page["data_points"]:
                key = (point["device_id"], point["metric_name"], parse_time(point["timestamp"]))
                assert key not in found, f"{key} comes twice"
                found[key] = point["value"]
            if page["next_cursor"] is None:
                return found
            body["cursor"] = page["next_cursor"]


def lost(load: Load, stored: dict[Key, float]) -> list[tuple[Key, float, float | None]]:
    """Acknowledged points that are missing or have another value."""
    return [
        (key, value, stored.get(key))
        for key, value in load.acknowledged.items()
        if stored.get(key) != value
    ]


async def eventually(check: Callable[[], Any], *, timeout_s: float, what: str = "") -> Any:
    """The first true result of the check; fails after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        await asyncio.sleep(0.02)
