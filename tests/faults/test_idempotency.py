"""kill -9 between a change and its answer: whoever repeats it hears the truth, and makes nothing
twice."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, started

from daemon.faults import Point

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
SILENCE = {"matchers": {"device_id": "d"}, "ends_at": "2099-01-01T00:00:00Z", "comment": "c"}


async def ask(daemon: DaemonProcess) -> httpx.Response:
    headers = {"Authorization": f"Bearer {daemon.key}", "Idempotency-Key": "k"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60) as http:
        return await http.post("/silences", json=SILENCE)


async def killed_at(point: Point, dsn: str) -> DaemonProcess:
    """A new daemon, after one died there over the request."""
    first = await started(dsn, fault=f"{point}:kill")
    with pytest.raises(httpx.TransportError):
        await ask(first)
    await asyncio.to_thread(first.process.wait, 100)
    return await started(dsn, home=first.home, key=first.key)


async def sql(dsn: str, statement: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_change_whose_answer_was_lost_is_done(dsn: str) -> None:
    daemon = await killed_at(Point.REQUEST_AFTER_CHANGE, dsn)

    again = await ask(daemon)
    while again.json().get("code") == "request_running":
        await asyncio.sleep(0.2)
        again = await ask(daemon)

    assert (again.status_code, again.json()["code"]) == (409, "already_done")
    assert await sql(dsn, "select count(*) from telemetry.silence") == 1


async def test_a_request_that_died_before_its_change_can_be_repeated(dsn: str) -> None:
    daemon = await killed_at(Point.REQUEST_BEFORE_CHANGE, dsn)

    # However long it took to start again.
    await sql(dsn, "update telemetry.idempotency set running_until = now() + interval '1 hour'")
    early = await ask(daemon)
    await sql(dsn, "update telemetry.idempotency set running_until = now() - interval '1 s'")
    late = await ask(daemon)

    assert (early.status_code, early.json()["code"]) == (409, "request_running")
    assert late.status_code == 201
    assert await sql(dsn, "select count(*) from telemetry.silence") == 1
