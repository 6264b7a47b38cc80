"""The relay over a real journal and a real nats-server, turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from event_builder import an_event
from nats_servers import NatsServer, nats_server, stream_of
from stacks import NOW_US, Stack, a_stack

from daemon.clock import SystemClock
from daemon.delivery.nats import NatsLogin, NatsPublisher
from daemon.domain.errors import LeaseLost
from daemon.live.ring import Ring, RingLimits
from daemon.service import relaying
from daemon.service.relaying import RELAY, Relaying
from daemon.store.events import EventStore
from daemon.store.pool import Database
from daemon.workers.lease import Lease
from daemon.workers.relay import Relay

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    monkeypatch.setattr("daemon.delivery.nats.CONNECT_TIMEOUT_S", 30)
    monkeypatch.setattr("daemon.delivery.nats.ANSWER_TIMEOUT_S", 30.0)
    with nats_server(tmp_path) as running:
        yield running


@pytest.fixture
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with a_stack(database) as opened:
        yield opened


@asynccontextmanager
async def a_relay(
    database: Database, stack: Stack, server: NatsServer, *, ring: Ring | None = None
) -> AsyncIterator[Relay]:
    clock = SystemClock()
    publisher = NatsPublisher(NatsLogin(server.url))
    lease = Lease(database, RELAY, holder=uuid4(), clock=clock)
    follows = Relaying(database, journal=stack.journal, tail=stack.tail, ring=ring or Ring())
    relay = Relay(follows, publisher, lease, clock=clock)
    await relay.prepare()
    await publisher.connect()
    yield relay
    await publisher.close()


async def send(stack: Stack, devices: int = 1, *, first: int = 0) -> None:
    """One flush with a point of each device."""
    point = {"timestamp": NOW_US // 1_000_000, "metric_name": "m", "value": 1}
    body = {f"d{at:04}": [point] for at in range(first, first + devices)}
    assert (await stack.post("/bulk", body)).status_code == 200
    await stack.tail.turn()


async def tell(database: Database, stack: Stack, **about: Any) -> str:
    event = await EventStore(database).insert(an_event(**about))
    await stack.tail.turn()
    return event.event_id


async def drained(relay: Relay) -> None:
    while await relay.run_once():
        pass


async def test_it_begins_behind_what_was_there_the_first_time_and_never_again(
    database: Database, stack: Stack, server: NatsServer
) -> None:
    await send(stack)
    async with a_relay(database, stack, server) as relay:
        await drained(relay)
        await send(stack, 2)
        await relay.prepare()
        await drained(relay)
        last = await tell(database, stack)
        await drained(relay)

    found = await stream_of(server, until=last)

    assert [m.body.get("points") for m in found] == [2, None]


async def test_a_flush_names_a_hundred_devices_at_most(
    database: Database, stack: Stack, server: NatsServer
) -> None:
    async with a_relay(database, stack, server) as relay:
        await send(stack, 250)
        await drained(relay)
        position = stack.tail.position

    (found,) = await stream_of(server, until=f"{stack.registry.epoch}-{position}")

    assert found.subject == "telemetry.data.received"
    assert found.body == {
        "points": 250,
        "devices": [f"d{at:04}" for at in range(100)],
        "cursor": f"{stack.registry.epoch}-{position}",
    }
    assert found.headers["ce-type"] == "telemetry.data.received"
    assert found.headers["ce-id"] == found.id == found.body["cursor"]
    assert found.headers["ce-source"] == f"urn:telemetry:{stack.registry.epoch}"


@pytest.mark.parametrize("entries", [1, 100])
async def test_blocks_in_memory_are_told_as_those_of_the_journal(
    database: Database, stack: Stack, server: NatsServer, entries: int
) -> None:
    ring = Ring(RingLimits(entries=entries))
    ring.begin(stack.tail.position)
    stack.tail.publish = ring.append
    ring.pinned = 1_000
    async with a_relay(database, stack, server, ring=ring) as relay:
        for at in range(5):
            await send(stack, 3, first=at)
        last = await tell(database, stack)
        await drained(relay)

    found = await stream_of(server, until=last)

    assert [m.body["devices"] for m in found[:-1]] == [
        [f"d{at + n:04}" for n in range(3)] for at in range(5)
    ]


async def test_pages_follow_each_other(
    database: Database, stack: Stack, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "PAGE_ENTRIES", 2)
    async with a_relay(database, stack, server) as relay:
        told = [await tell(database, stack, message=str(at)) for at in range(5)]
        await drained(relay)

    assert [m.id for m in await stream_of(server, until=told[-1])] == told


async def test_only_the_holder_of_the_lease_publishes(
    database: Database, stack: Stack, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.workers.lease.TTL_S", 600.0)
    async with (
        a_relay(database, stack, server) as holder,
        a_relay(database, stack, server) as other,
    ):
        await tell(database, stack)

        assert await holder.run_once()
        await tell(database, stack)
        assert not await other.run_once()


async def test_a_former_holder_does_not_move_the_position(
    database: Database, stack: Stack, server: NatsServer
) -> None:
    async with (
        a_relay(database, stack, server) as former,
        a_relay(database, stack, server) as present,
    ):
        await tell(database, stack)
        await former.run_once()
        await expire_lease(database)
        last = await tell(database, stack)

        assert await present.run_once()
        with pytest.raises(LeaseLost):
            await former.run_once()
    assert len(await stream_of(server, until=last)) == 2


async def expire_lease(database: Database) -> None:
    async with database.connection("control") as connection:
        await connection.execute(
            "update telemetry.consumer set lease_expires_at = '-infinity' where name = 'relay'"
        )


async def test_what_the_journal_no_longer_held_is_said_with_its_extent(
    database: Database, stack: Stack, server: NatsServer
) -> None:
    async with a_relay(database, stack, server) as relay:
        await send(stack)
        await drained(relay)
        read_to = stack.tail.position
        for at in range(3):
            await send(stack, first=at)
        lost_to = stack.tail.position
        async with database.connection("control") as connection:
            await connection.execute("delete from telemetry.journal where seq <= $1", lost_to)
            await connection.execute(
                "update telemetry.installation set journal_floor = $1", lost_to
            )
        last = await tell(database, stack)
        with structlog.testing.capture_logs() as lines:
            await drained(relay)
            await tell(database, stack)
            await drained(relay)

    epoch = stack.registry.epoch
    assert [line for line in lines if line["event"] == "relay_lost_blocks"] == [
        {"event": "relay_lost_blocks", "log_level": "error", "after": f"{epoch}-{read_to}",
         "up_to": f"{epoch}-{lost_to}"}
    ]  # fmt: skip
    assert (await stream_of(server, until=last))[1].id == last


async def test_the_loop_finds_its_server_again(
    database: Database, stack: Stack, server: NatsServer
) -> None:
    async with a_relay(database, stack, server) as relay, asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(relay.run())
        first = await tell(database, stack)
        await stream_of(server, until=first)
        server.kill()
        second = await tell(database, stack)
        async with asyncio.timeout(60):
            while relay.is_up:
                await asyncio.sleep(0.02)
        server.start()
        found = await stream_of(server, until=second)
        loop.cancel()

    assert [m.id for m in found] == [first, second]
