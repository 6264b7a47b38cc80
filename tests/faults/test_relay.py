"""What happened reaches NATS at least once and in order, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess, started
from databases import fresh_database
from nats_servers import Listener, NatsServer, Stored, connected, nats_server, stream_of
from servers import PostgresServer

from daemon.faults import Point

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
LATE_S = 100
START_S = int(time.time()) - 3_600


async def a_daemon(dsn: str, server: NatsServer, **options: Any) -> DaemonProcess:
    return await started(dsn, nats__url=server.url, **options)


def send(daemon: DaemonProcess, first: int, count: int) -> int:
    """So many flushes of one point; returns the number of the next."""
    with daemon.http() as http:
        for at in range(first, first + count):
            point = {"timestamp": START_S + at, "metric_name": "m", "value": at}
            assert http.post(f"/devices/d{at % 3}/telemetry", json=point).status_code == 200
    return first + count


def tell(daemon: DaemonProcess, message: str) -> str:
    """An event from outside; returns its id."""
    with daemon.http() as http:
        answer = http.post("/events", json={"type": "note", "message": message})
    assert answer.status_code == 201
    return str(answer.json()["event_id"])


def points_in(found: list[Stored]) -> int:
    return sum(m.body["points"] for m in found if m.subject == "telemetry.data.received")


def places(found: list[Stored]) -> list[int]:
    """The position of each flush, as it was stored."""
    cursors = [m.body["cursor"] for m in found if m.subject == "telemetry.data.received"]
    return [int(cursor.partition("-")[2]) for cursor in cursors]


async def nats_state(daemon: DaemonProcess) -> str:
    with daemon.http() as http:
        state: dict[str, str] = http.get(daemon.url + "/health").json()["dependencies"]
    return state["nats"]


async def all_heard(heard: Listener, found: list[Stored]) -> None:
    """Until everything that is stored has passed here, too."""
    ids = {message.id for message in found if message.subject == "telemetry.data.received"}
    async with asyncio.timeout(LATE_S):
        while not ids <= set(heard.ids):
            await asyncio.sleep(0.02)


async def until_nats_is(daemon: DaemonProcess, state: str) -> None:
    async with asyncio.timeout(LATE_S):
        while await nats_state(daemon) != state:
            await asyncio.sleep(0.05)


async def test_every_flush_and_every_event_is_published_in_order(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with nats_server(tmp_path) as server:
        daemon = await a_daemon(await fresh_database(postgres), server)
        send(daemon, 0, 3)
        with daemon.http() as http:
            made = http.post("/metrics", json={"name": "m", "data_type": "numeric"}).json()
            feed = http.get("/events", params={"after": ""}).json()["events"]
        send(daemon, 3, 2)
        last = tell(daemon, "that was all")
        found = await stream_of(server, until=last)
        state = await nats_state(daemon)
        daemon.stop()

    told = [m for m in found if m.subject == "metric.defined"]
    assert [m.subject for m in found if m.subject != "telemetry.event.key.created"] == [
        *["telemetry.data.received"] * 3, "metric.defined",
        *["telemetry.data.received"] * 2, "telemetry.event.note",
    ]  # fmt: skip
    assert [m.body["devices"] for m in found if "devices" in m.body] == [
        ["d0"], ["d1"], ["d2"], ["d0"], ["d1"],
    ]  # fmt: skip
    assert points_in(found) == 5
    assert [m.body for m in told] == [e for e in feed if e["type"] == "metric.defined"]
    assert told[0].body["data"]["metric_id"] == made["metric_id"]
    assert told[0].headers["ce-type"] == "metric.defined"
    assert told[0].headers["ce-id"] == told[0].id == told[0].body["event_id"]
    assert state == "up"


async def test_nats_away_costs_ingest_nothing_and_is_caught_up_with(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with nats_server(tmp_path, is_running=False) as server:
        daemon = await a_daemon(await fresh_database(postgres), server)
        at = send(daemon, 0, 20)
        await until_nats_is(daemon, "down")
        with daemon.http() as http:
            health = http.get(daemon.url + "/health").json()["status"]
        server.start()
        at = send(daemon, at, 20)
        await until_nats_is(daemon, "up")
        server.kill()
        at = send(daemon, at, 20)
        server.start()
        at = send(daemon, at, 20)
        found = await stream_of(server, until=tell(daemon, "end"), timeout_s=LATE_S)
        daemon.stop()

    assert health == "healthy"
    assert points_in(found) == at == 80
    assert places(found) == sorted(set(places(found)))


async def test_a_daemon_killed_before_its_position_is_stored_repeats_with_the_same_ids(
    durable_postgres: PostgresServer, tmp_path: Path
) -> None:
    dsn = await fresh_database(durable_postgres)
    heard = Listener()
    with nats_server(tmp_path) as server:
        async with connected(server) as client:
            await client.subscribe("telemetry.data.received", cb=heard.hear)
            await client.flush(30)
            daemon = await a_daemon(dsn, server, fault=f"{Point.RELAY_BEFORE_POSITION}:kill:3")
            await asyncio.to_thread(send_until_dead, daemon)
            again = await a_daemon(dsn, server, home=daemon.home, key=daemon.key)
            send(again, 1_000, 3)
            found = await stream_of(server, until=tell(again, "end"), timeout_s=LATE_S)
            await all_heard(heard, found)
            with again.http() as http:
                stored = http.get("/changes", params={"limit": 10_000}).json()["data_points"]
            again.stop()

    assert daemon.process.returncode == -9
    assert len(heard.ids) > len(set(heard.ids)), "nothing was sent twice"
    assert points_in(found) == len(stored)
    assert places(found) == sorted(set(places(found)))
    assert set(heard.ids) == {m.id for m in found if m.subject == "telemetry.data.received"}


def send_until_dead(daemon: DaemonProcess) -> None:
    at = 0
    while daemon.process.poll() is None:
        try:
            at = send(daemon, at, 1)
        except httpx.TransportError:
            daemon.process.wait(10)


async def test_of_two_daemons_one_publishes_and_the_other_takes_over(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    dsn = await fresh_database(postgres)
    heard = Listener()
    with nats_server(tmp_path) as server:
        async with connected(server) as client:
            await client.subscribe("telemetry.data.received", cb=heard.hear)
            await client.flush(30)
            first = await a_daemon(dsn, server)
            second = await a_daemon(dsn, server, key=first.key)
            send(first, 0, 10)
            send(second, 10, 10)
            await all_heard(heard, await stream_of(server, until=tell(first, "both")))
            sent = list(heard.ids)
            await asyncio.to_thread(first.stop)
            send(second, 20, 10)
            found = await stream_of(server, until=tell(second, "end"), timeout_s=LATE_S)
            second.stop()

    assert len(sent) == len(set(sent)) == 20
    assert points_in(found) == 30
    assert places(found) == sorted(set(places(found)))


async def test_secrets_of_nats_are_not_logged(postgres: PostgresServer, tmp_path: Path) -> None:
    with nats_server(tmp_path, "--user", "ana", "--pass", "s3cret") as server:
        address = server.url.replace("//", "//ana:wr0ng@")
        daemon = await started(await fresh_database(postgres), nats__url=address)
        told = await asyncio.to_thread(daemon.wait_for, "relay_down")
        at = send(daemon, 0, 2)
        daemon.stop()

    assert "Authorization Violation" in told["reason"]
    assert at == 2
    assert "wr0ng" not in str(daemon.log)
