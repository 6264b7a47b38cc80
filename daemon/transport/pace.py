"""Spreads work that was ready at once over several turns of the event loop, so that what is quickly
answered is read in between."""

from __future__ import annotations

import asyncio

AT_ONCE = 8
"""Requests that take a millisecond each."""


class Pace:
    """One for all who do such work in a process."""

    def __init__(self) -> None:
        self._begun = 0

    async def turn(self) -> None:
        """Go on now, or when the loop has looked at its sockets again."""
        while self._begun >= AT_ONCE:
            await asyncio.sleep(0)
        if not self._begun:
            # Before those that wait: they come after it in the next turn.
            asyncio.get_running_loop().call_soon(self._next)
        self._begun += 1

    def _next(self) -> None:
        self._begun = 0
