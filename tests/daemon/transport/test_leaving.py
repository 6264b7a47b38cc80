"""A read ends with its client; whatever else cancels it stays what it is."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from control import API
from daemons import DaemonProcess

from daemon.transport.bodies import ClientGone
from daemon.transport.leaving import Leaving, unless_gone
from daemon.transport.sse import TRANSPORT

pytestmark = pytest.mark.anyio


class Wire:
    def __init__(self, connection: object) -> None:
        self.connection = connection

    def get_protocol(self) -> object:
        return self.connection


def scope_of(connection: object) -> dict[str, Any]:
    return {"extensions": {TRANSPORT: Wire(connection)}}


async def test_work_is_cancelled_when_the_client_goes() -> None:
    connection = Leaving()
    asyncio.get_running_loop().call_later(0.01, connection.leave)

    with pytest.raises(ClientGone):
        await unless_gone(scope_of(connection), asyncio.Event().wait)

    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    with pytest.raises(ClientGone):
        await unless_gone(scope_of(connection), asyncio.Event().wait)


async def test_a_cancellation_of_another_cause_goes_on() -> None:
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(unless_gone(scope_of(Leaving()), asyncio.Event().wait))
        await asyncio.sleep(0)
        work.cancel()

    assert work.cancelled()


async def test_who_goes_afterwards_cancels_nothing() -> None:
    connection = Leaving()

    async def quick() -> int:
        return 1

    assert await unless_gone(scope_of(connection), quick) == 1
    connection.leave()
    await asyncio.sleep(0)
    assert await unless_gone({}, quick) == 1


async def test_who_goes_before_the_body_is_whole_is_no_failure_in_the_log(
    daemon: DaemonProcess,
) -> None:
    url = urlsplit(daemon.url)
    head = (
        f"POST {API}/groups HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {daemon.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with socket.create_connection((str(url.hostname), url.port), timeout=60) as connection:
        connection.sendall(head.encode())
        await asyncio.sleep(0.2)

    async with asyncio.timeout(60):
        while not (found := [x for x in daemon.log if x.get("method") == "POST"]):
            await asyncio.sleep(0.05)
    assert [line["status"] for line in found] == [499]
