"""The disk of the embedded database is full, first for its data, then for its log: senders get 503,
reads go on while PostgreSQL does, and nothing acknowledged is lost (reliability: F-05)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, started
from disks import Disk, a_disk

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
DISK_MIB = 300
RECOVERY_S_MAX = 100.0
"""PostgreSQL may have to start again, on a busy machine."""


@pytest.fixture
async def disk() -> AsyncIterator[Disk]:
    with a_disk(mib=DISK_MIB) as mounted:
        yield mounted


class Sender:
    """Sends batches of 100 numbers, each with the next ones; `stored` counts what was stored."""

    def __init__(self, daemon: DaemonProcess) -> None:
        headers = {"Authorization": f"Bearer {daemon.key}"}
        self.http = httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60)
        self.url = daemon.url
        self.began_ms = round(time.time() * 1000) - 10_000_000
        self.stored = 0

    async def send(self) -> tuple[int, str, str | None]:
        """Status, code and Retry-After of the answer."""
        points = [
            {"timestamp": self.began_ms + n, "metric_name": "n", "value": n, "tags": {"n": str(n)}}
            for n in range(self.stored, self.stored + 100)
        ]
        answer = await self.http.post("/devices/d/telemetry/batch", json={"data_points": points})
        if answer.status_code == 200:
            self.stored += 100
        said = answer.json()
        return answer.status_code, said.get("code", ""), answer.headers.get("retry-after")

    async def send_until(self, status: int, *, timeout_s: float) -> float:
        """Repeat until this answer; returns after how many seconds it came."""
        began_s = time.monotonic()
        while (await self.send())[0] != status:
            assert time.monotonic() - began_s < timeout_s, f"no {status} in {timeout_s} s"
            await asyncio.sleep(0.2)
        return time.monotonic() - began_s

    async def ask(self, path: str) -> int:
        whole = path if path.startswith("/devices") else self.url + path
        return (await self.http.get(whole)).status_code

    async def is_not_ready(self) -> bool:
        """Whether the probe of health has noticed, which looks once a second."""
        async with asyncio.timeout(60):
            while await self.ask("/health/ready") != 503:
                await asyncio.sleep(0.1)
        return True

    async def values(self) -> list[float]:
        bounds: dict[str, str | int] = {
            "metric_names": "*",
            "start_time": self.began_ms,
            "end_time": self.began_ms + 1_000_000,
        }
        found: list[float] = []
        async with self.http.stream("GET", "/export/csv", params=bounds) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("2"):
                    found.append(float(line.split(",")[3]))
        return found


async def exhaust_the_log(data_dir: Path) -> None:
    """Let PostgreSQL begin new files of its write-ahead log until there is no room for one."""
    where = json.loads((data_dir / "embedded.json").read_text())
    password = (data_dir / "telemetry_admin.pgpass").read_text().strip().rpartition(":")[2]
    admin = await asyncpg.connect(
        host=where["socket_dir"], user="telemetry_admin", password=password, database="telemetry"
    )
    try:
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await _new_files(admin)
    finally:
        admin.terminate()


async def _new_files(admin: asyncpg.Connection[asyncpg.Record]) -> None:
    while True:
        await admin.execute("select pg_logical_emit_message(true, 'test', 'x')")
        await admin.execute("select pg_switch_wal()")


@pytest.mark.timeout(600)
async def test_a_full_disk_is_a_503_and_loses_nothing(disk: Disk) -> None:
    data_dir = disk.folder / "data"
    daemon = await started("embedded", environment={"TELEMETRY_DATABASE__DATA_DIR": str(data_dir)})
    sender = Sender(daemon)
    latest = "/devices/d/metrics/n/latest"
    for _ in range(3):
        assert (await sender.send())[0] == 200

    disk.fill()
    while (full := await sender.send())[0] == 200:
        pass
    while_full = [await sender.ask(path) for path in (latest, "/health", "/health/live")]
    disk.free()
    await sender.send_until(200, timeout_s=RECOVERY_S_MAX)

    disk.fill()
    await exhaust_the_log(data_dir)
    await sender.send_until(503, timeout_s=60)
    dead = [await sender.send() for _ in range(5)]
    while_dead = await sender.is_not_ready(), await sender.ask("/health/live")
    disk.free()
    await sender.send_until(200, timeout_s=RECOVERY_S_MAX)
    values = await sender.values()
    await sender.http.aclose()
    exit_code = await asyncio.to_thread(daemon.stop)

    assert full == (503, "storage_full", "10")
    assert while_full == [200, 200, 200]
    assert {status for status, _, _ in dead} == {503}
    assert all(retry_after for _, _, retry_after in dead)
    assert while_dead == (True, 200)
    assert set(range(sender.stored)) <= set(values)
    assert not [line for line in daemon.log if line["event"] == "request_failed"]
    assert exit_code == 0
