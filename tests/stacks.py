"""A daemon's write path and live views on a real database, without a process around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.live.head import Head
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.live.traffic import Traffic
from daemon.service.catalog import Catalog
from daemon.service.ingest import Ingest, IngestLimits
from daemon.service.keys import Keys
from daemon.service.limits import Limits
from daemon.service.tail import Tail
from daemon.store.journal import JournalStore
from daemon.store.keys import KeyStore
from daemon.store.limits import LimitStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.transport.access_log import AccessLog
from daemon.transport.ingest import IngestRoutes
from daemon.transport.limits import Gate

NOW_US = 1_766_059_200_000_000
"""2025-12-18T12:00:00Z."""


@dataclass
class Stack:
    """The parts of one daemon; `http` speaks to its ingest routes with an admin key."""

    clock: ManualClock
    registry: Registry
    head: Head
    latest: Latest
    journal: JournalStore
    tail: Tail
    ingest: Ingest
    gate: Gate
    token: str
    http: httpx.AsyncClient

    @property
    def keys(self) -> Keys:
        return self.gate.keys

    async def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        kind = "content" if isinstance(body, bytes | str) else "json"
        return await self.http.post(f"/api/v1/telemetry{path}", **{kind: body}, **options)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not an ingest route"})


@asynccontextmanager
async def a_stack(
    database: Database,
    *,
    limits: IngestLimits | None = None,
    now_us: int = NOW_US,
    metrics_per_device_max: int = 1_000,
) -> AsyncIterator[Stack]:
    """Open a stack on a migrated database; its flush loop runs until the end."""
    clock = ManualClock(now_us)
    registry, head, latest = Registry(), Head(), Latest()
    journal, series = JournalStore(database, writer=uuid4()), SeriesStore(database)
    tail = Tail(journal, series, registry, head, latest)
    ingest = Ingest(
        journal, Catalog(series, registry, metrics_per_device_max=metrics_per_device_max), clock,
        tail.reload_catalog, tail.apply_own, limits or IngestLimits(),
    )  # fmt: skip
    tail.is_flushing = lambda: ingest.is_flushing
    keys = Keys(KeyStore(database), clock=clock, members=registry.membership)
    await tail.load()
    token = await keys.bootstrap() or ""
    gate = Gate(keys, Limits(LimitStore(database), clock=clock), clock=clock)
    app = IngestRoutes(_nothing, ingest=ingest, gate=gate, access=AccessLog(Traffic(clock), clock))
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app=app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http,
        asyncio.TaskGroup() as tasks,
    ):
        loop = tasks.create_task(ingest.run())
        yield Stack(clock, registry, head, latest, journal, tail, ingest, gate, token, http)
        loop.cancel()


ADMIN = Principal("key_admin", "admin", frozenset({"admin"}), "enterprise")
