"""Keeps the further processes of the daemon, and tells them what a reload changed. What one does is
in sibling.py."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec

from daemon import sibling
from daemon.config import is_terminal
from daemon.parts import Parts
from daemon.serving import end_wait_s
from daemon.workers import child
from daemon.workers.child import Standing


class Siblings:
    """The processes from number 2 on; `parts` are those of the first."""

    def __init__(self, parts: Parts, dsn: str) -> None:
        self._parts = parts
        self._dsn = dsn
        numbers = range(2, parts.config.server.processes + 1)
        self._standing = {number: Standing(self._orders(number)) for number in numbers}

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What keeps each of them."""
        wait_s = end_wait_s(self._parts.config)
        return [
            child.keep("daemon.sibling", standing, end_wait_s=wait_s)
            for standing in self._standing.values()
        ]

    def change(self) -> None:
        """Tell them the configuration as it is now."""
        for number, standing in self._standing.items():
            standing.change(self._orders(number))

    def _orders(self, process: int) -> bytes:
        config = self._parts.config
        return msgspec.json.encode(
            sibling.Orders(
                config=config.model_dump(mode="json"),
                dsn=self._dsn,
                port=self._parts.services.port,
                process=process,
                log_text=config.log.wants_text(is_terminal=is_terminal()),
            )
        )
