"""Listens for the NOTIFY that other daemons send with a commit, and wakes the follower. Losing one
costs latency only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from daemon.domain.errors import DomainError
from daemon.store.pool import Database

CHANNEL = "telemetry_journal"
RETRY_S = 2.0
CHECK_S = 10.0
"""A dead peer is noticed by asking; nothing else is ever sent on this connection."""


async def run(database: Database, wake: Callable[[], None], *, channel: str = CHANNEL) -> None:
    """Listen until cancelled, on a connection of its own; a lost one is opened again."""
    while True:
        try:
            await _listen(database, wake, channel)
        except (DomainError, OSError, TimeoutError):
            await asyncio.sleep(RETRY_S)


async def _listen(database: Database, wake: Callable[[], None], channel: str) -> None:
    async with database.listening(channel, wake) as is_alive:
        while await is_alive():
            await asyncio.sleep(CHECK_S)
