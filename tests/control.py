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
from daemon.live.registry import Registry
from daemon.service.secret_box import SecretBox
from daemon.service.sessions import SessionSettings
from daemon.service.tail import Tail
from daemon.services import make_services
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.transport.http import build_api
from daemon.transport.internal_calls import InternalCalls
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
    services = services_over(database, clock=clock, tail=tail)
    await services.groups.refresh()
    services.health.started()
    while not services.health.is_database_up:
        # A busy machine may take longer than a probe waits.
        await services.health.probe()
    token = await services.keys.bootstrap()
    assert token is not None
    app = InternalCalls(build_api(services), ignored=services.ignored)
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://daemon", headers=bearer(token)
        ) as client:
            yield Control(database, clock, services, tail, client, token)
    finally:
        services.health.close()


def services_over(database: Database, *, clock: ManualClock, tail: Tail) -> Services:
    """The daemon's services, with settings of tests."""
    options = TellingOptions(uuid4(), SecretBox(bytes(32)), ["127.0.0.1"])
    telling = make_telling(database, registry=tail.registry, clock=clock, options=options)
    services = make_services(database, tail=tail, telling=telling, clock=clock, port=8218)
    services.sessions.configure(SessionSettings((JWT_SECRET,)))
    return services
