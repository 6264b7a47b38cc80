"""A key that is used from somewhere new, through every door of two daemons behind a proxy."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess
from histories import eventually
from stream_clients import a_socket, frame_of

pytestmark = pytest.mark.anyio
STORED_WITHIN_S = 60.0
"""Uses are written every 5 seconds."""


def a_key(daemon: DaemonProcess) -> dict[str, Any]:
    with daemon.http() as http:
        made = http.post("/keys", json={"name": "bus", "scopes": ["ingest", "read"]})
        assert made.status_code == 201, made.text
        found: dict[str, Any] = made.json()
    return found


def use(http: httpx.Client, method: str, path: str, *, came_from: str, **options: Any) -> None:
    answer = http.request(method, path, headers={"X-Forwarded-For": came_from}, **options)
    assert answer.status_code == 200, answer.text


def told(daemon: DaemonProcess) -> list[str]:
    with daemon.http() as http:
        events = http.get("/events", params={"type": "key.new_network"}).json()["events"]
    return sorted(event["data"]["network"] for event in events)


def networks(daemon: DaemonProcess, key_id: str) -> list[str]:
    with daemon.http() as http:
        shown = http.get(f"/keys/{key_id}").json()
    return sorted(row["network"] for row in shown["networks"])


async def test_each_new_network_is_told_once_whichever_door_and_daemon_it_came_by(
    daemons: list[DaemonProcess],
) -> None:
    first, second = daemons
    made = a_key(first)
    bearer = {"Authorization": f"Bearer {made['key']}"}
    point = {"metric_name": "m", "value": 1, "timestamp": time.time()}
    by_first = httpx.Client(base_url=first.url + API, headers=bearer, timeout=30)
    by_second = httpx.Client(base_url=second.url + API, headers=bearer, timeout=30)
    with by_first, by_second:
        # The key is known from here on: each further use goes the quick way.
        for _ in range(3):
            use(by_first, "POST", "/devices/d/telemetry", came_from="203.0.113.1", json=point)
        await eventually(
            lambda: networks(first, made["key_id"]), timeout_s=STORED_WITHIN_S, what="first use"
        )
        for http in (by_first, by_second):
            for name, method, path, body in (
                ("198.51.100.1", "POST", "/devices/d/telemetry", point),
                ("198.51.101.1", "POST", "/devices/d/telemetry/batch", {"data_points": [point]}),
                ("198.51.102.1", "GET", "/devices/d/metrics/m/latest", None),
                ("198.51.103.1", "GET", "/devices", None),
            ):
                use(http, method, path, came_from=name, json=body)
    for daemon in daemons:
        forwarded = {"X-Forwarded-For": "2001:db8:7:1::5"}
        async with a_socket(daemon, key=made["key"], headers=forwarded) as socket:
            assert await frame_of(socket, "welcome")

    expected = [f"198.51.{at}.0/24" for at in range(100, 104)] + ["2001:db8:7::/48"]
    await eventually(
        lambda: len(told(second)) >= len(expected), timeout_s=STORED_WITHIN_S, what=str(expected)
    )
    shown = first.cli("key", "show", made["key_id"], "-o", "table").stdout
    await asyncio.to_thread(first.stop)
    assert told(second) == expected
    assert networks(second, made["key_id"]) == sorted(["203.0.113.0/24", *expected])
    assert "FIRST USED" in shown
    assert shown.count("203.0.113.0/24") == 2
