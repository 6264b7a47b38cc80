"""How much a machine that is busy holds a daemon up: so much longer than they should may others
take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from daemons import DaemonProcess


@asynccontextmanager
async def stalls(daemon: DaemonProcess) -> AsyncIterator[list[float]]:
    """Seconds that answers take, meanwhile, which need nothing but to be let run."""
    took_s = [0.0]
    is_over = asyncio.Event()

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=60) as http:
            while not is_over.is_set():
                began_s = time.monotonic()
                await http.get("/health/live")
                took_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask())
        try:
            yield took_s
        finally:
            is_over.set()
