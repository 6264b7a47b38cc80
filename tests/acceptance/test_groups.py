"""Groups over two daemons: a change at one is known at the other, and bound keys follow it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from servers import PostgresServer

pytestmark = pytest.mark.anyio
KNOWN_WITHIN_S = 60.0


def a_client(daemon: DaemonProcess, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60)


async def posted(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    document: dict[str, Any] = answer.json()
    return document


async def until_written(client: httpx.AsyncClient, device_id: str, status: int) -> list[str]:
    """The codes of writes for a device until one has this status."""
    codes = []
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while time.monotonic() < deadline:
        point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
        answer = await client.post(f"/devices/{device_id}/telemetry", json=point)
        codes.append(answer.json().get("code", "stored"))
        if answer.status_code == status:
            return codes
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {status}: {codes[-5:]}")


async def test_a_bound_key_writes_and_reads_members_only_at_every_daemon(
    postgres: PostgresServer,
) -> None:
    dsn = await fresh_database(postgres)
    first = await started(dsn)
    second = await started(dsn, key=first.key)
    async with a_client(first, first.key) as admin:
        now = time.time()
        point = {"timestamp": now, "metric_name": "m", "value": 0}
        await posted(admin, "/bulk", {"in": [point], "out": [point]})
        group = await posted(admin, "/groups", {"name": "g", "kind": "fleet", "device_ids": ["in"]})
        wanted = {"name": "bound", "scopes": ["ingest", "read"], "groups": ["g"]}
        key = (await posted(admin, "/keys", wanted))["key"]
        async with a_client(second, key) as bound:
            at_first = await until_written(bound, "in", 200)
            refused = await until_written(bound, "out", 403)
            batch = await bound.post("/bulk", json={"in": [point], "out": [point]})
            fresh = await until_written(bound, "never-seen", 403)
            await admin.put(f"/groups/{group['group_id']}/devices/out")
            await admin.delete(f"/groups/{group['group_id']}/devices/in")
            joined = await until_written(bound, "out", 200)
            left = await until_written(bound, "in", 403)
            listed = (await bound.get("/devices")).json()

    assert at_first[-1] == joined[-1] == "stored"
    assert refused[0] == fresh[0] == left[-1] == "forbidden"
    assert batch.status_code == 200
    failed = {device: one["failed_count"] for device, one in batch.json()["results"].items()}
    assert failed == {"in": 0, "out": 1}
    assert [device["device_id"] for device in listed["devices"]] == ["out"]


async def test_a_daemon_knows_the_groups_when_it_starts(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    first = await started(dsn)
    async with a_client(first, first.key) as admin:
        point = {"timestamp": time.time(), "metric_name": "m", "value": 0}
        await posted(admin, "/devices/d/telemetry", point)
        await posted(admin, "/groups", {"name": "g", "kind": "fleet", "device_ids": ["d"]})
    await asyncio.to_thread(first.stop)

    second = await started(dsn, key=first.key)
    async with a_client(second, first.key) as admin:
        newest = (await admin.get("/latest?group=g")).json()

    assert list(newest["latest"]) == ["d"]
