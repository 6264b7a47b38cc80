"""Single points that never become a task: answered as ASGI would, and everything else is left to
it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from stacks import NOW_US, Stack, a_stack
from starlette.types import Receive, Scope, Send

from daemon.domain.budgets import TierNumbers
from daemon.live.traffic import Traffic
from daemon.service.ingest import IngestLimits
from daemon.service.limits import LimitSettings
from daemon.store.pool import Database
from daemon.transport.access_log import AccessLog
from daemon.transport.ingest import IngestRoutes
from daemon.transport.limits import UNLIMITED_NUMBER
from daemon.transport.quick_points import QuickPoints
from daemon.transport.server import Server, bind, make_server

pytestmark = pytest.mark.anyio
PATH = "/api/v1/telemetry/devices/pump_1/telemetry"


class CountingRoutes(IngestRoutes):
    """Counts the requests that came through ASGI."""

    calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await super().__call__(scope, receive, send)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Wire:
    """A served stack and one connection to it."""

    stack: Stack
    routes: CountingRoutes
    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = field(default=0)

    def point(self, value: Any, *, path: str = PATH, version: str = "1.1", **headers: str) -> bytes:
        body = json.dumps(
            {"timestamp": NOW_US // 1000 + self.sent, "metric_name": "flow", "value": value}
        )
        self.sent += 1
        named = {"X-Api-Key": self.stack.token, "Content-Length": str(len(body))}
        named |= {name.replace("_", "-"): text for name, text in headers.items()}
        lines = [f"POST {path} HTTP/{version}", *(f"{n}: {v}" for n, v in named.items()), "", body]
        return "\r\n".join(lines[:-1]).encode() + b"\r\n" + body.encode()

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), headers, json.loads(body))

    async def ask(self, request: bytes) -> Answer:
        self.writer.write(request)
        return await asyncio.wait_for(self.answer(), 60)

    def numbers(self) -> list[float]:
        series_id = self.stack.registry.find("pump_1", "flow")
        assert series_id is not None
        ids = np.array([series_id], np.int32)
        found: list[float] = self.stack.head.read(ids, start_us=0, end_us=2**62).numbers.tolist()
        return found


@asynccontextmanager
async def a_wire(database: Database, *, limits: IngestLimits | None = None) -> AsyncIterator[Wire]:
    """A wire whose first point, which registers its series, was stored."""
    async with a_stack(database, limits=limits) as stack:
        access = AccessLog(Traffic(stack.clock), stack.clock)
        routes = CountingRoutes(stack.http, ingest=stack.ingest, gate=stack.gate, access=access)  # type: ignore[arg-type]
        listening = bind("127.0.0.1", 0)
        points = QuickPoints(stack.ingest, stack.gate, access)
        server = make_server(routes, drain_timeout_s=5, points=points)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            wire = Wire(stack, routes, server, reader, writer)
            try:
                assert (await wire.ask(wire.point(0))).status == 200
                routes.calls = 0
                yield wire
            finally:
                writer.close()
                server.should_exit = True


async def test_a_plain_point_is_stored_and_answered_without_asgi(database: Database) -> None:
    async with a_wire(database) as wire:
        answer = await wire.ask(wire.point(1.5))

        assert answer.status == 200
        assert answer.body == {
            "success": True,
            "message": "Data point ingested successfully",
            "device_id": "pump_1",
            "metric_name": "flow",
        }
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"].startswith("req_")
        assert "date" in answer.headers
        assert wire.routes.calls == 0
        assert wire.numbers() == [0, 1.5]


async def test_the_answer_has_the_headers_of_the_long_way(database: Database) -> None:
    async with a_wire(database) as wire:
        quick = await wire.ask(wire.point(1))
        long = await wire.ask(wire.point(2, path=PATH + "?dry_run=false"))

        assert wire.routes.calls == 1
        assert quick.headers.keys() == long.headers.keys()
        assert quick.body == long.body


async def test_another_limit_holds_at_once_on_an_open_connection(database: Database) -> None:
    def settings(points_per_s: int) -> LimitSettings:
        numbers = TierNumbers(points_per_s=points_per_s)
        return LimitSettings(dict.fromkeys(("free", "pro", "enterprise"), numbers))

    async with a_wire(database) as wire:
        limits = wire.stack.gate.limits
        limits.configure(settings(1_000))
        many = [await wire.ask(wire.point(value)) for value in range(2)]
        limits.configure(settings(500))
        fewer = [await wire.ask(wire.point(value)) for value in range(2)]
        limits.configure(LimitSettings())
        unlimited = await wire.ask(wire.point(9))

    def said(answers: list[Answer]) -> set[str]:
        return {answer.headers["x-ratelimit-limit"] for answer in answers}

    assert said(many) != said(fewer)
    assert len(said(many)) == len(said(fewer)) == 1
    assert unlimited.headers["x-ratelimit-limit"] == str(UNLIMITED_NUMBER)
    assert int(many[1].headers["x-ratelimit-remaining"]) < int(
        many[0].headers["x-ratelimit-remaining"]
    )


async def test_requests_have_ids_of_their_own_and_a_named_one_is_echoed(database: Database) -> None:
    async with a_wire(database) as wire:
        one, two = await wire.ask(wire.point(1)), await wire.ask(wire.point(2))
        named = await wire.ask(wire.point(3, X_Request_ID="mine"))
        odd = await wire.ask(wire.point(4, X_Request_ID="not a name"))

        assert one.headers["x-request-id"] != two.headers["x-request-id"]
        assert named.headers["x-request-id"] == "mine"
        assert odd.headers["x-request-id"].startswith("req_")
        assert wire.routes.calls == 0


async def test_a_body_may_come_in_pieces(database: Database) -> None:
    async with a_wire(database) as wire:
        request = wire.point(1)
        for at in range(0, len(request), 40):
            wire.writer.write(request[at : at + 40])
            await wire.writer.drain()
            await asyncio.sleep(0.002)

        assert (await asyncio.wait_for(wire.answer(), 60)).status == 200
        assert wire.routes.calls == 0


async def test_pipelined_requests_are_answered_in_their_order(database: Database) -> None:
    async with a_wire(database) as wire:
        ids = [f"r{at}" for at in range(20)]
        requests = [
            # Every third is not plain, so that both ways take turns.
            wire.point("text" if at % 3 == 2 else at, X_Request_ID=name)
            for at, name in enumerate(ids)
        ]
        wire.writer.write(b"".join(requests))
        answers = [await asyncio.wait_for(wire.answer(), 60) for _ in ids]

        assert [answer.headers["x-request-id"] for answer in answers] == ids
        assert {answer.status for answer in answers} == {200}
        assert wire.routes.calls == 6


@pytest.mark.parametrize(
    "closing", [{"Connection": "close"}, {"version": "1.0"}], ids=["asked", "http-1.0"]
)
async def test_a_connection_that_is_not_kept_is_closed(
    database: Database, closing: dict[str, str]
) -> None:
    async with a_wire(database) as wire:
        answer = await wire.ask(wire.point(1, **closing))

        assert answer.headers["connection"] == "close"
        assert await asyncio.wait_for(wire.reader.read(), 60) == b""
        assert wire.numbers() == [0, 1]


@pytest.mark.parametrize(
    ("value", "headers", "status"),
    [
        (1, {"X_Api_Key": "tlm_live_wrong"}, 401),
        (1, {"Content_Encoding": "br"}, 415),
        (1, {"Origin": "https://example.com"}, 200),
        ("text", {}, 200),
        (2**60, {}, 422),
        (None, {}, 422),
    ],
)
async def test_anything_else_takes_the_long_way(
    database: Database, value: Any, headers: dict[str, str], status: int
) -> None:
    async with a_wire(database) as wire:
        answer = await wire.ask(wire.point(value, **headers))

        assert answer.status == status
        assert wire.routes.calls == 1
        assert (await wire.ask(wire.point(3))).status == 200


async def test_a_point_the_queue_has_no_room_for_is_a_503(database: Database) -> None:
    async with a_wire(database) as wire:
        wire.stack.ingest.limits = IngestLimits(queue_points_max=1)
        others = [
            await asyncio.open_connection(*wire.writer.get_extra_info("peername")) for _ in range(8)
        ]
        for _, writer in others:
            writer.write(wire.point(1))
        found = []
        for reader, writer in others:
            of = Wire(wire.stack, wire.routes, wire.server, reader, writer)
            found.append(await asyncio.wait_for(of.answer(), 60))
            writer.close()

        refused = [answer for answer in found if answer.status == 503]
        assert {answer.status for answer in found} == {200, 503}
        assert all("retry-after" in answer.headers for answer in refused)
        assert all(answer.body["code"] for answer in refused)
        assert wire.routes.calls == 0
        assert wire.stack.ingest.counters.failed_requests == len(refused)


async def test_a_point_of_a_stale_catalogue_is_stored_by_the_long_way(database: Database) -> None:
    async with a_wire(database) as wire:
        async with database.connection("control") as connection:
            await connection.execute("select telemetry.catalog_changed()")
        answer = await wire.ask(wire.point(7))

        assert answer.status == 200
        assert wire.routes.calls == 1
        assert wire.numbers() == [0, 7]


async def test_a_client_that_leaves_does_not_take_its_point_along(database: Database) -> None:
    async with a_wire(database) as wire:
        _, writer = await asyncio.open_connection(*wire.writer.get_extra_info("peername"))
        writer.write(wire.point(5))
        await writer.drain()
        await asyncio.sleep(0)
        writer.transport.abort()
        async with asyncio.timeout(60):
            while wire.numbers() != [0, 5]:
                await asyncio.sleep(0.01)

        assert (await wire.ask(wire.point(6))).status == 200


async def test_after_the_goodbye_an_answer_closes_its_connection(database: Database) -> None:
    async with a_wire(database) as wire:
        wire.server.say_goodbye()
        answer = await wire.ask(wire.point(1))

        assert answer.headers["connection"] == "close"
        assert await asyncio.wait_for(wire.reader.read(), 60) == b""
        assert wire.routes.calls == 0
