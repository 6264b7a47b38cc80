"""Listens for the NOTIFY that other daemons send with a commit, and wakes the follower. Losing one
costs latency only."""

from __future__ import annotations

import asyncio

from daemon.domain.errors import DomainError
from daemon.service.tail import Tail
from daemon.store.pool import Database

CHANNEL = "telemetry_journal"
RETRY_S = 2.0
CHECK_S = 10.0
"""A dead peer is noticed by asking; nothing else is ever sent on this connection."""


async def run(database: Database, tail: Tail) -> None:
    """Listen until cancelled, on a connection of its own; a lost one is opened again."""
    while True:
        try:
            await _listen(database, tail)
        except (DomainError, OSError, TimeoutError):
            await asyncio.sleep(RETRY_S)


async def _listen(database: Database, tail: Tail) -> None:
    async with database.listening(CHANNEL, tail.wake) as is_alive:
        while await is_alive():
            await asyncio.sleep(CHECK_S)
