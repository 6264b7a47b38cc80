"""The control plane over a real database, without a socket: services and live views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx
import numpy as np

from daemon.clock import ManualClock, SystemClock
from daemon.delivery.telling import TellingOptions, make_telling
from daemon.domain.block import Block, pack
from daemon.domain.key_request import KeyRequest
from daemon.domain.kinds import Kind
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.presence import Presence
from daemon.live.registry import Registry
from daemon.live.traffic import Traffic
from daemon.service.administration import Administration
from daemon.service.alerting import make_alerting
from daemon.service.devices import Devices
from daemon.service.events import Events
from daemon.service.group_states import GroupStates
from daemon.service.groups import Groups
from daemon.service.health import Health
from daemon.service.keys import Keys
from daemon.service.logins import make_sessions
from daemon.service.metrics import Metrics
from daemon.service.rates import Rates
from daemon.service.reads import make_reads
from daemon.service.secret_box import SecretBox
from daemon.service.sessions import SessionSettings
from daemon.service.stats import Stats
from daemon.service.subscriptions import Subscriptions
from daemon.service.tail import Tail
from daemon.service.tickets import Tickets
from daemon.store.devices import DeviceStore
from daemon.store.events import EventStore
from daemon.store.groups import GroupStore
from daemon.store.health import HealthStore
from daemon.store.journal import JournalStore
from daemon.store.keys import KeyStore
from daemon.store.metrics import MetricStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.store.stats import StatsStore
from daemon.store.subscriptions import SubscriptionStore
from daemon.store.tickets import TicketStore
from daemon.transport.http import build_api
from daemon.transport.services import Services

API = "/api/v1/telemetry"
JWT_SECRET = b"a secret of tests, which is long enough"


@dataclass
class Control:
    """One daemon's control plane; `clock` starts at the real time and moves when told."""

    database: Database
    clock: ManualClock
    services: Services
    tail: Tail
    client: httpx.AsyncClient
    token: str

    async def send(self, points: Sequence[tuple[str, str, int, float]]) -> None:
        """Commit points (device, metric, µs, number) as one block, and follow the journal."""
        wanted = {(device, metric): Kind.NUMERIC for device, metric, _, _ in points}
        rows = await self.tail.series.register([(d, m, k) for (d, m), k in wanted.items()])
        ids = {(row.device_id, row.metric_name): row.series_id for row in rows}
        await self.tail.reload_catalog()
        block = Block(
            np.array([ids[device, metric] for device, metric, _, _ in points], np.int32),
            np.array([time_us for _, _, time_us, _ in points], np.int64),
            np.array([number for _, _, _, number in points], np.float64),
        )
        version = self.tail.registry.version
        await self.tail.journal.append(pack(block), points=len(block), catalog_version=version)
        await self.tail.turn()

    async def key(self, *scopes: str, **options: object) -> str:
        """The token of a new key."""
        admin = await self.services.keys.authenticate(self.token, address="test")
        wanted = KeyRequest(**{"name": "test", "scopes": scopes, "tier": "free", **options})  # type: ignore[arg-type]
        made = await self.services.keys.create(wanted, by=admin)
        assert made.key is not None
        return made.key


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def control_plane(database: Database) -> AsyncIterator[Control]:
    """Everything started, with a first key; the client sends it unless told otherwise."""
    clock = ManualClock(SystemClock().now_us())
    registry, head, latest = Registry(), Head(), Latest()
    tail = Tail(
        JournalStore(database, writer=uuid4()), SeriesStore(database), registry, head, latest
    )
    await tail.load()
    services = make_services(database, clock=clock, tail=tail)
    await services.groups.refresh()
    services.health.started()
    await services.health.probe()
    token = await services.keys.bootstrap()
    assert token is not None
    transport = httpx.ASGITransport(app=build_api(services))
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://daemon", headers=bearer(token)
        ) as client:
            yield Control(database, clock, services, tail, client, token)
    finally:
        services.health.close()


def make_services(database: Database, *, clock: ManualClock, tail: Tail) -> Services:
    traffic = Traffic(clock)
    presence = Presence(tail.registry, tail.latest)
    membership, group_store = tail.registry.membership, GroupStore(database)
    groups = Groups(group_store, membership=membership, clock=clock)
    reads = make_reads(database, tail=tail, clock=clock)

    async def reload() -> None:
        await tail.reload_catalog()
        await groups.refresh()

    keys = Keys(KeyStore(database), clock=clock, members=membership)
    sessions = make_sessions(database, keys=keys, clock=clock)
    sessions.configure(SessionSettings((JWT_SECRET,)))
    options = TellingOptions(uuid4(), SecretBox(bytes(32)), ["127.0.0.1"])
    telling = make_telling(database, registry=tail.registry, clock=clock, options=options)
    alerting = make_alerting(database, tail=tail, ledger=telling.ledger, clock=clock)
    return Services(
        clock=clock,
        traffic=traffic,
        keys=keys,
        metrics=Metrics(MetricStore(database), clock=clock, registry_reload=tail.reload_catalog),
        devices=Devices(
            DeviceStore(database),
            clock=clock,
            presence=presence,
            membership=membership,
            registry_reload=reload,
        ),
        groups=groups,
        group_states=GroupStates(group_store, groups=groups, latest=reads.latest),
        rules=alerting.rules,
        alerts=alerting.alerts,
        channels=telling.channels,
        silences=telling.silences,
        ledger=telling.ledger,
        watches=alerting.watches,
        explaining=alerting.explaining,
        backtests=alerting.backtests,
        jobs=alerting.jobs,
        events=Events(EventStore(database), clock=clock, tail=tail),
        stats=Stats(
            StatsStore(database),
            clock=clock,
            registry=tail.registry,
            head=tail.head,
            presence=presence,
            traffic=traffic,
        ),
        rates=Rates(tail, traffic=traffic, clock=clock),
        health=Health(HealthStore(database), clock=clock, traffic=traffic),
        reads=reads,
        subscriptions=Subscriptions(SubscriptionStore(database), clock=clock),
        administration=Administration(database, clock=clock),
        tickets=Tickets(TicketStore(database), keys=keys, sessions=sessions),
        sessions=sessions,
        port=8218,
    )
