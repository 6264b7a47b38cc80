"""Calls one thing again and again; what it does is its owner's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from daemon.domain.errors import TryLater
from daemon.log import get_logger

log = get_logger()


async def repeat(
    call: Callable[[], Awaitable[object]], *, every_s: float, name: str, waits_first: bool = False
) -> None:
    """Runs for ever: call, wait, call. A turn that fails is logged, and the next one comes."""
    if waits_first:
        await asyncio.sleep(every_s)
    while True:
        try:
            await call()
        except TryLater as error:
            log.warning("turn_postponed", worker=name, code=error.error_code)
        except Exception as error:
            log.error("turn_failed", worker=name, exc_info=error)
        await asyncio.sleep(every_s)
