"""Alerts of a real daemon in its streams: as they come, over each door, and again from a cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, started
from stream_clients import STREAM, a_socket, frame_of, subscribed, write

pytestmark = pytest.mark.anyio


@pytest.fixture
async def own(dsn: str) -> AsyncIterator[DaemonProcess]:
    daemon = await started(dsn, streams__ring_entries_max="2")
    yield daemon
    daemon.kill()


async def ask(daemon: DaemonProcess, method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60) as http:
        answer = await http.request(method, path, **options)
    assert answer.is_success, answer.text
    return answer.json()


async def a_rule(daemon: DaemonProcess, **fields: Any) -> str:
    rule = {"name": "hot", "metric_name": "m", "condition": ">", "threshold_value": 90} | fields
    return str((await ask(daemon, "POST", "/alerts/rules", json=rule))["rule_id"])


async def test_an_alert_is_told_as_it_fires_is_acknowledged_and_is_over(
    own: DaemonProcess,
) -> None:
    rule_id = await a_rule(own)
    async with a_socket(own) as socket:
        answer = await subscribed(socket, channels=["alerts"])
        await write(own, "oven", 1, 95)

        fired = await frame_of(socket, "alert")
        path = f"/alerts/{fired['data']['alert_id']}"
        await ask(own, "PUT", f"{path}/acknowledge", json={"note": "seen"})
        acknowledged = await frame_of(socket, "alert")
        await ask(own, "PUT", f"{path}/resolve", json={})
        resolved = await frame_of(socket, "alert")

    assert answer["type"] == "subscribed"
    assert (fired["data"]["rule_id"], fired["data"]["device_id"]) == (rule_id, "oven")
    statuses = [frame["data"]["status"] for frame in (fired, acknowledged, resolved)]
    assert statuses == ["active", "acknowledged", "resolved"]
    assert resolved["data"] == await ask(own, "GET", path)


async def test_a_cursor_brings_the_alerts_since_from_the_journal(own: DaemonProcess) -> None:
    await a_rule(own)
    cursor = (await ask(own, "GET", "/changes", params={"limit": 10}))["cursor"]
    await write(own, "oven", 95)
    await write(own, "fridge", 99)
    await wait_for_alerts(own, 2)
    await write(own, "other", *range(10))

    async with a_socket(own) as socket:
        answer = await subscribed(socket, channels=["alerts"], devices=["fridge"], resume=cursor)
        frame = await frame_of(socket, "alert")

    assert answer["data"]["recovered"] is True
    assert frame["data"]["device_id"] == "fridge"


async def test_server_sent_events_carry_them_too(own: DaemonProcess) -> None:
    await a_rule(own)
    headers = {"Authorization": f"Bearer {own.key}", "Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=own.url, headers=headers, timeout=60) as http,
        http.stream("GET", f"{STREAM}/alerts") as response,
    ):
        kinds: list[str] = []
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            if kinds[-1:] == ["subscribed"] and not line:
                await write(own, "oven", 95)
            if kinds[-1:] == ["alert"]:
                break

    assert kinds[-1] == "alert"


async def wait_for_alerts(daemon: DaemonProcess, count: int) -> None:
    deadline_s = time.monotonic() + 60
    while (await ask(daemon, "GET", "/alerts"))["total"] < count:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)
