"""The lines in which a daemon tells a process of its own what to do, as they come on its standard
input; the end of that is the end of the daemon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

READ_BYTES = 65_536


class OrderLines:
    """Reads a descriptor; no more than it has to, and nothing ahead of anybody else."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def first(self) -> bytes | None:
        """Wait for the first line; None when there is none."""
        while b"\n" not in self._rest:
            read = os.read(self._descriptor, READ_BYTES)
            if not read:
                return None
            self._rest += read
        return self._next()

    def watch(self, on_line: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """From now on hand further lines over as they come, and say when there will be none."""
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            read = os.read(self._descriptor, READ_BYTES)
            self._rest += read
            while b"\n" in self._rest:
                on_line(self._next())
            if not read:
                loop.remove_reader(self._descriptor)
                on_end()

        loop.add_reader(self._descriptor, on_readable)
        while b"\n" in self._rest:
            on_line(self._next())

    def _next(self) -> bytes:
        line, _, self._rest = self._rest.partition(b"\n")
        return line
