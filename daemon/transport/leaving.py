"""Long reads end when their client goes: nobody would get what the database still looks for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.types import Scope

from daemon.transport.bodies import ClientGone
from daemon.transport.sse import TRANSPORT

T = TypeVar("T")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Leaving:
    """A connection whose request under way may be cancelled when the client is gone."""

    reading: asyncio.Task[Any] | None = None
    is_gone = False

    def leave(self) -> None:
        """The client is gone."""
        self.is_gone = True
        if self.reading is not None:
            self.reading.cancel()


def ends_with_client(endpoint: Endpoint) -> Endpoint:
    """Declares that a route only reads, and may end in the middle."""
    endpoint.__dict__["ends_with_client"] = True
    return endpoint


def long_read(endpoint: Endpoint) -> Endpoint:
    """Declares that a route reads history: a key may have few of it at a time, and it ends with
    its client."""
    endpoint.__dict__["is_long_read"] = True
    return ends_with_client(endpoint)


async def unless_gone(scope: Scope, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, which is cancelled as soon as the client is gone. Raises ClientGone."""
    transport = scope.get("extensions", {}).get(TRANSPORT)
    connection = None if transport is None else transport.get_protocol()
    task = asyncio.current_task()
    if not isinstance(connection, Leaving) or task is None:
        return await work()
    if connection.is_gone:
        raise ClientGone
    connection.reading = task
    try:
        return await work()
    except asyncio.CancelledError:
        if not connection.is_gone:
            raise
        task.uncancel()
        raise ClientGone from None
    finally:
        connection.reading = None
