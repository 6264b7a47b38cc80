"""Calls something again and again while something else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(call: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """At once, and then every so often until the end of the block; never while the loop hangs."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def turn() -> None:
        nonlocal timer
        call()
        timer = loop.call_later(every_s, turn)

    turn()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
