"""Each episode is one alert, one message to each channel and one event of each kind, whatever dies
meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest
from daemons import DaemonProcess, started
from databases import fresh_database
from servers import PostgresServer
from stalls import stalls

from daemon.faults import Point

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
HOT = {
    "name": "hot", "metric_name": "temperature", "condition": ">", "threshold_value": 90,
    "cooldown_minutes": 0, "auto_resolve_timeout": 5, "notification_channels": ["ops"],
}  # fmt: skip
LATE_S = 100
TAKE_OVER_S = 12
EPISODE_S = 20
"""One point that breaches, and ten seconds later one that does not; then as long nothing."""


@dataclass
class Ovens:
    """Devices that get hot again and again; `expected` are the firings of what was sent."""

    daemons: list[DaemonProcess]
    names: list[str]
    start_s: int = field(default_factory=lambda: int(time.time()) - 80_000)
    episodes: int = 0
    expected: set[tuple[str, int]] = field(default_factory=set)

    async def send(self, episodes: int) -> None:
        """So many episodes of each, through the daemons in turn; a refused request is repeated."""
        async with httpx.AsyncClient(timeout=60) as http:
            for _ in range(episodes):
                at_s = self.start_s + self.episodes * EPISODE_S
                await self._post(http, {name: [_point(at_s, 95)] for name in self.names})
                await self._post(http, {name: [_point(at_s + 10, 1)] for name in self.names})
                self.expected |= {(name, at_s) for name in self.names}
                self.episodes += 1

    async def _post(self, http: httpx.AsyncClient, bodies: dict[str, Any]) -> None:
        deadline_s = time.monotonic() + LATE_S
        while time.monotonic() < deadline_s:
            for daemon in list(self.daemons):
                headers = {"Authorization": f"Bearer {daemon.key}"}
                url = f"{daemon.url}/api/v1/telemetry/bulk"
                try:
                    answer = await http.post(url, json=bodies, headers=headers)
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    self.daemons.append(self.daemons.pop(0))
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("nobody took the points")


def _point(at_s: int, value: float) -> dict[str, Any]:
    return {"timestamp": at_s, "metric_name": "temperature", "value": value}


def make_rule(daemon: DaemonProcess, **fields: Any) -> str:
    with daemon.http() as http:
        answer = http.post("/alerts/rules", json=HOT | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["rule_id"])


@dataclass
class Told:
    """What is in the tables: a row for each alert, event and message."""

    alerts: list[tuple[str, int]]
    statuses: set[str]
    events: list[str]
    messages: list[str]


async def told(dsn: str) -> Told:
    connection = await asyncpg.connect(dsn)
    try:
        alerts = await connection.fetch(
            "select device_id, extract(epoch from event_time)::int8 as at, status"
            " from telemetry.alert order by 2, 1"
        )
        events = await connection.fetch(
            "select dedup_id from telemetry.event where type like 'alert.%'"
            " and type not like 'alert.rule%'"
        )
        messages = await connection.fetch("select idempotency_key from telemetry.notification")
    finally:
        await connection.close()
    return Told(
        [(row["device_id"], row["at"]) for row in alerts],
        {row["status"] for row in alerts},
        [row[0] for row in events],
        [row[0] for row in messages],
    )


async def all_told(dsn: str, count: int, *, over: bool = True, timeout_s: float = LATE_S) -> Told:
    """What was told, as soon as there are so many alerts, all of them over if that is waited
    for."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = await told(dsn)
        is_done = not over or found.statuses <= {"resolved"}
        if (len(found.alerts) >= count and is_done) or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(0.05)


def check(found: Told, ovens: Ovens) -> None:
    """Nothing missed, nothing doubled."""
    assert sorted(found.alerts) == sorted(ovens.expected)
    assert found.statuses == {"resolved"}
    assert len(found.events) == len(set(found.events)) == 2 * len(ovens.expected)
    assert len(found.messages) == len(set(found.messages)) == 2 * len(ovens.expected)


async def a_fleet(dsn: str, size: int, *, fault: str = "") -> list[DaemonProcess]:
    """Daemons on one database; the first one holds the lease of the evaluator."""
    first = await started(dsn, **({"fault": fault} if fault else {}))
    await asyncio.to_thread(_wait_for_lease, first)
    others = [started(dsn, key=first.key) for _ in range(size - 1)]
    return [first, *await asyncio.gather(*others)]


def _wait_for_lease(daemon: DaemonProcess) -> float:
    """When it says that it took it, in Unix seconds."""
    deadline_s = time.monotonic() + LATE_S
    while time.monotonic() < deadline_s:
        for line in list(daemon.log):
            if line["event"] == "lease_taken" and line["lease"] == "evaluator":
                return datetime.fromisoformat(line["ts"]).timestamp()
        time.sleep(0.02)
    raise AssertionError("nobody took the lease")


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("point", [Point.EVALUATION_BEFORE_COMMIT, Point.EVALUATION_AFTER_COMMIT])
@pytest.mark.timeout(600)
async def test_a_daemon_killed_while_it_writes_an_alert(
    durable_postgres: PostgresServer, point: Point, size: int
) -> None:
    dsn = await fresh_database(durable_postgres)
    first, *others = await a_fleet(dsn, size, fault=f"{point}:kill:3")
    make_rule(others[0])
    ovens = Ovens([first, *others], [f"oven_{n}" for n in range(3)])

    await ovens.send(20)
    while first.process.poll() is None:
        # So far it has judged many at once.
        await ovens.send(1)
        await asyncio.sleep(0.2)
    found = await all_told(dsn, len(ovens.expected))

    assert first.process.returncode == -9
    check(found, ovens)


async def test_another_daemon_takes_over_within_twelve_seconds(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    first, second = await a_fleet(dsn, 2)
    make_rule(first)
    ovens = Ovens([first, second], ["oven"])
    await ovens.send(3)
    await all_told(dsn, 3)

    killed_s = time.time()
    first.kill()
    async with stalls(second) as stalled_s:
        taken_s = await asyncio.to_thread(_wait_for_lease, second)
    await ovens.send(3)
    found = await all_told(dsn, 6)

    check(found, ovens)
    # What it was held up by the machine it may be late.
    assert taken_s - killed_s < TAKE_OVER_S + 1 + 2 * max(stalled_s)


async def test_a_count_goes_on_through_a_restart(durable_postgres: PostgresServer) -> None:
    dsn = await fresh_database(durable_postgres)
    daemon = await started(dsn)
    await asyncio.to_thread(_wait_for_lease, daemon)
    make_rule(daemon, evaluation_window=300, trigger_count=3, auto_resolve_timeout=3600)
    start_s = int(time.time()) - 60
    send(daemon, start_s, start_s + 1)
    await asyncio.sleep(0.5)
    daemon.kill()

    again = await started(dsn, home=daemon.home, key=daemon.key)
    send(again, start_s + 2, start_s + 3)
    found = await all_told(dsn, 1, over=False)

    assert found.alerts == [("oven", start_s + 2)]
    assert len(found.events) == len(found.messages) == 1


def send(daemon: DaemonProcess, *times_s: int) -> None:
    """A breach at each of these times."""
    with daemon.http() as http:
        for at_s in times_s:
            answer = http.post("/devices/oven/telemetry", json=_point(at_s, 95))
            assert answer.status_code == 200, answer.text
