"""A further process of the daemon: `python -m daemon.sibling`, started by it and ending with it.

It serves on the daemon's port and follows the journal like a daemon of its own; the database, the
compactor and housekeeping are the daemon's. Orders come as a JSON line on standard input, and as a
further one after each reload; its end ends the process: when the daemon stops or dies, however, the
pipe closes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from daemon import serving
from daemon.config import Config
from daemon.domain.errors import DomainError
from daemon.log import get_logger, set_up
from daemon.memory import return_large_arrays
from daemon.order_lines import OrderLines
from daemon.parts import Parts, build
from daemon.reloading import reload
from daemon.signals import leave_signals_to_parent, say_where_on_signal
from daemon.store.pool import Database
from daemon.transport.server import bind_beside
from daemon.workers.child import BEAT_EVERY_S, Parent
from daemon.workers.meanwhile import meanwhile
from daemon.workers.systemd import ServiceManager

EXIT_TRY_LATER = 75

log = get_logger()


class Orders(msgspec.Struct, frozen=True):
    """What the daemon tells a sibling; the address may hold a password, so it is no argument.

    `config` is the daemon's whole configuration, `port` what it got, `process` from 2 on.
    """

    config: dict[str, Any]
    dsn: str
    port: int
    process: int
    log_text: bool


def main() -> None:
    """Read the orders and serve until standard input ends."""
    leave_signals_to_parent()
    parent = os.getppid()
    lines = OrderLines(sys.stdin.fileno())
    line = lines.first()
    if line is None:
        return
    orders = msgspec.json.decode(line, type=Orders)
    # Everything is given, so neither a file nor the environment has a say.
    config = Config(**orders.config)
    set_up(level=config.log.level, text=orders.log_text, process=orders.process)
    try:
        with asyncio.Runner(loop_factory=serving.new_loop) as runner:
            runner.run(_serve(orders, config, lines, parent=parent))
    except (DomainError, OSError) as error:
        # The daemon tries again.
        log.error("sibling_failed", error=str(error))
        sys.exit(EXIT_TRY_LATER)


async def _serve(orders: Orders, config: Config, lines: OrderLines, *, parent: int) -> None:
    return_large_arrays()
    say_where_on_signal()
    stop = serving.Stop(is_alone=lambda: os.getppid() != parent)
    manager, changed = Parent(), Changed()
    lines.watch(changed.on_line, stop.event.set)
    async with AsyncExitStack() as stack:
        with meanwhile(manager.alive, every_s=BEAT_EVERY_S):
            database = Database(orders.dsn, limits=serving.pool_limits(config))
            await database.open()
            stack.push_async_callback(database.close)
            # The daemon starts another one, with nothing remembered.
            database.on_new_epoch = stop.event.set
            parts = build(config, database, port=orders.port, process=orders.process)
            stack.callback(parts.services.health.close)
            await serving.patiently(parts.tail.load)
            await serving.patiently(parts.services.groups.refresh)
            if stop.event.is_set():
                return
            # Not before it can answer: the kernel sends connections here from now on.
            listening = bind_beside(config.server.host, orders.port)
            stack.callback(listening.close)
        changed.tell(parts)
        await serving.run(parts, listening, stop, company=serving.Company(manager=manager))
    log.info("stopped")


class Changed:
    """Orders that came after the first ones: the configuration after a reload."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._parts: Parts | None = None

    def on_line(self, line: bytes) -> None:
        """Take them over; as soon as there is something that they change."""
        self._config = Config(**msgspec.json.decode(line, type=Orders).config)
        self._take_over()

    def tell(self, parts: Parts) -> None:
        """From now on there is."""
        self._parts = parts
        self._take_over()

    def _take_over(self) -> None:
        parts, config = self._parts, self._config
        if parts is not None and config is not None:
            # As the daemon itself does; nobody has to be told of it.
            reload(parts, lambda: config, ServiceManager())


if __name__ == "__main__":
    main()
