"""Absence that is no noise (B6), with a real daemon: one device, then all, then our own ingest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from servers import PostgresServer

pytestmark = pytest.mark.anyio
DEVICES = [f"oven_{n:03}" for n in range(500)]
QUIET = {"name": "quiet", "kind": "absence", "metric_name": "temperature", "cooldown_minutes": 0,
         "grace_factor": 16}  # fmt: skip
"""With so much patience a process of the test that stalls for seconds is no silence."""
TOLD_S = 100
"""An alert comes within interval and factor, and so long after."""


@dataclass
class Fleet:
    """Devices that send twice a second, each batch with an id."""

    daemon: DaemonProcess
    devices: list[str] = field(default_factory=lambda: list(DEVICES))
    stored: int = 0
    """Batches so far."""

    async def goes_on(self, count: int) -> None:
        """Until so many more were stored."""
        wanted = self.stored + count
        async with asyncio.timeout(TOLD_S):
            while self.stored < wanted:
                await asyncio.sleep(0.05)

    async def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.daemon.key}"}
        url = f"{self.daemon.url}{API}/columns"
        async with httpx.AsyncClient(timeout=60, headers=headers) as http:
            while True:
                await asyncio.sleep(0.5)
                now_ms = int(time.time() * 1000)
                series = [
                    {"device_id": name, "metric_name": "temperature", "timestamps": [now_ms],
                     "values": [1.0]}
                    for name in self.devices
                ]  # fmt: skip
                if series:
                    body = {"series": series, "batch_id": str(now_ms)}
                    answer = await http.post(url, json=body)
                    assert answer.status_code in (200, 503), answer.text
                    self.stored += answer.status_code == 200


@asynccontextmanager
async def a_fleet(daemon: DaemonProcess) -> AsyncIterator[Fleet]:
    fleet = Fleet(daemon)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(fleet.run())
        yield fleet
        sending.cancel()


async def alerts(daemon: DaemonProcess, **wanted: str) -> list[dict[str, Any]]:
    def get() -> list[dict[str, Any]]:
        with daemon.http() as http:
            found: list[dict[str, Any]] = http.get("/alerts", params=wanted).json()["alerts"]
            return found[::-1]

    return await asyncio.to_thread(get)


async def until(daemon: DaemonProcess, count: int, **wanted: str) -> list[dict[str, Any]]:
    """The alerts, once there are so many."""
    deadline_s = time.monotonic() + TOLD_S
    while True:
        found = await alerts(daemon, **wanted)
        if len(found) >= count or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(0.2)


@pytest.mark.timeout(600)
async def test_one_then_all_then_our_own_ingest_are_one_alert_each(
    postgres: PostgresServer,
) -> None:
    dsn = await fresh_database(postgres)
    daemon = await started(dsn)
    holder = await asyncpg.connect(dsn)
    async with a_fleet(daemon) as fleet:
        await fleet.goes_on(3)
        with daemon.http() as http:
            made = http.post("/alerts/rules", json=QUIET | {"expected_interval": "auto"})
        assert made.status_code == 201
        # A cadence is known from ten gaps on.
        await fleet.goes_on(16)
        fleet.devices.remove("oven_007")
        one = await until(daemon, 1)
        fleet.devices.clear()
        two = await until(daemon, 2)
        fleet.devices += DEVICES
        await until(daemon, 2, status="resolved")
        await fleet.goes_on(12)
        async with holder.transaction():
            # Nothing with a batch id can be committed, and requests wait.
            await holder.execute("lock table telemetry.ingest_batch in exclusive mode")
            three = await until(daemon, 3)
        over = await until(daemon, 3, status="resolved")
    await holder.close()

    assert [(a["scope"], a["device_id"]) for a in one] == [("device", "oven_007")]
    assert [a["scope"] for a in two] == ["device", "group"]
    assert [a["scope"] for a in three] == ["device", "group", "ingest"]
    assert [a["scope"] for a in over] == ["device", "group", "ingest"]
    assert {a["resolved_reason"] for a in over} == {"cleared"}
