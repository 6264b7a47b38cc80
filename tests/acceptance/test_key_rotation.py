"""A key gets a new secret while everybody uses it: nobody is refused, and who is late is known."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess
from histories import eventually
from stream_clients import STREAM, a_socket, frame_of, say

pytestmark = pytest.mark.anyio
STORED_WITHIN_S = 60.0
"""Uses are written every 5 seconds, and open streams are looked at as often."""
ROTATIONS = 4
PROXIED = {"X-Forwarded-For": "203.0.113.7"}


def a_key(daemon: DaemonProcess) -> dict[str, Any]:
    wanted = {"name": "bus", "scopes": ["ingest", "read"], "tier": "enterprise"}
    with daemon.http() as http:
        made = http.post("/keys", json=wanted)
        assert made.status_code == 201, made.text
        found: dict[str, Any] = made.json()
    return found


def rotate(daemon: DaemonProcess, key_id: str, *, overlap: str = "1h") -> dict[str, Any]:
    with daemon.http() as http:
        answer = http.post(f"/keys/{key_id}/rotate", json={"overlap": overlap})
        assert answer.status_code == 200, answer.text
        turned: dict[str, Any] = answer.json()
    return turned


def callers(daemon: DaemonProcess, key_id: str) -> list[dict[str, Any]]:
    with daemon.http() as http:
        found: list[dict[str, Any]] = http.get(f"/keys/{key_id}").json()["former_callers"]
    return found


def a_point() -> dict[str, Any]:
    return {"metric_name": "m", "value": 1, "timestamp": time.time()}


# -- under load ------------------------------------------------------------------------------


@dataclass
class Load:
    """Clients that never stop asking; each takes the newest secret when it gets to it."""

    urls: list[str]
    secrets: list[str]
    held: dict[int, str] = field(default_factory=dict)
    """The secret of each client."""
    answers: Counter[int] = field(default_factory=Counter)
    is_over: bool = False

    async def run(self, number: int) -> None:
        """One client: it changes over to a new secret only after so many more requests."""
        self.held[number], requests = self.secrets[-1], 0
        url = self.urls[number % len(self.urls)]
        async with httpx.AsyncClient(base_url=url + API, timeout=30) as http:
            while not self.is_over:
                requests += 1
                if requests % (3 * number + 4) == 0:
                    self.held[number] = self.secrets[-1]
                token = self.held[number]
                bearer = {"Authorization": f"Bearer {token}", "User-Agent": f"client {number}"}
                for answer in (
                    await http.post("/devices/d/telemetry", json=a_point(), headers=bearer),
                    await http.get("/devices/d/metrics/m/latest", headers=bearer),
                    await http.get("/devices", headers=bearer),
                ):
                    self.answers[answer.status_code] += 1


async def test_rotating_under_load_drops_no_request(daemons: list[DaemonProcess]) -> None:
    made = a_key(daemons[0])
    load = Load([daemon.url for daemon in daemons], [made["key"]])

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(load.run(number))
        for turn in range(ROTATIONS):
            await _answered(load, more=400)
            daemon = daemons[turn % len(daemons)]
            turned = await asyncio.to_thread(rotate, daemon, made["key_id"])
            load.secrets.append(turned["key"])
        await _answered(load, more=400)
        load.is_over = True

    assert set(load.answers) == {200}
    assert load.answers[200] >= 400 * (ROTATIONS + 1)


async def _answered(load: Load, *, more: int) -> None:
    """So many, and everybody has the newest secret by then: only two are good at a time."""
    wanted = load.answers.total() + more
    async with asyncio.timeout(120):
        while load.answers.total() < wanted or set(load.held.values()) != {load.secrets[-1]}:
            await asyncio.sleep(0.02)


# -- who is late -----------------------------------------------------------------------------


async def by_http(daemon: DaemonProcess, token: str, *, turn: str = "") -> set[str]:
    """Requests of every kind with the token, each from an agent of its own; their names."""
    used = set()
    calls: list[tuple[str, str, Any]] = [
        ("POST", API + "/devices/d/telemetry", a_point()),
        ("POST", API + "/devices/d/telemetry/batch", {"data_points": [a_point()]}),
        ("POST", API + "/bulk", {"d": [a_point()]}),
        ("GET", API + "/devices/d/metrics/m/latest", None),
        ("GET", API + "/devices", None),
        ("POST", API + "/tickets", {}),
        ("POST", "/auth/login", {"api_key": token}),
    ]
    headers = PROXIED | {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=daemon.url, timeout=30) as http:
        for at, (method, path, body) in enumerate(calls):
            agent = f"call/{at}{turn}"
            if path == "/auth/login":
                headers = dict(PROXIED)
            answer = await http.request(
                method, path, json=body, headers=headers | {"User-Agent": agent}
            )
            assert answer.status_code in (200, 201), answer.text
            used.add(agent)
        async with http.stream(
            "GET", STREAM + "/telemetry",
            headers=PROXIED | {"Authorization": f"Bearer {token}", "User-Agent": "sse"},
        ) as answer:  # fmt: skip
            assert answer.status_code == 200
    return used | {"sse"}


async def by_socket(daemon: DaemonProcess, token: str) -> set[str]:
    options: dict[str, Any] = {"headers": PROXIED}
    async with a_socket(daemon, key=token, user_agent_header="socket", **options) as socket:
        await frame_of(socket, "welcome")
    async with a_socket(daemon, key="", user_agent_header="said", **options) as socket:
        await say(socket, "auth", token=token)
        await frame_of(socket, "welcome")
    return {"socket", "said"}


async def test_who_still_has_the_old_secret_is_named_by_whichever_door(
    daemons: list[DaemonProcess],
) -> None:
    first, second = daemons
    made = await asyncio.to_thread(a_key, first)
    key_id, old = made["key_id"], made["key"]
    async with AsyncExitStack() as stack:
        # A stream that was open before goes on with the old secret.
        held = await stack.enter_async_context(
            a_socket(first, key=old, user_agent_header="held", headers=PROXIED)
        )
        await frame_of(held, "welcome")
        turned = await asyncio.to_thread(rotate, first, key_id)
        expected = {"held"} | await by_http(first, old) | await by_socket(second, old)
        # Known by now, single points and newest ones go the quick way.
        expected |= await by_http(first, old, turn="/again")
        await by_http(second, turned["key"])

        await eventually(
            lambda: {row["agent"] for row in callers(first, key_id)} >= expected,
            timeout_s=STORED_WITHIN_S, what=str(expected),
        )  # fmt: skip

    rows = await asyncio.to_thread(callers, second, key_id)
    assert {row["agent"] for row in rows} == expected
    assert {row["address"] for row in rows} == {"203.0.113.7"}
    table = (await asyncio.to_thread(first.cli, "key", "show", key_id, "-o", "table")).stdout
    assert "STILL WITH THE OLD SECRET" in table
    assert {agent for agent in expected if agent not in table} == set()
    # Beside the rows it is where the key was last used from, and who is late, in short.
    assert table.count("203.0.113.7") == len(expected) + 2
    again = await asyncio.to_thread(rotate, first, key_id)
    assert again["former_callers"] is None
    assert await asyncio.to_thread(callers, second, key_id) == []
    assert old not in str(rows)
