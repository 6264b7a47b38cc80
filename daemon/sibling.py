"""A further process of the daemon: `python -m daemon.sibling`, started by it and ending with it.

It serves on the daemon's port and follows the journal like a daemon of its own; the database, the
compactor and housekeeping are the daemon's. Orders come as one JSON line on standard input, which
also ends it: when the daemon stops or dies, however, the pipe closes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from daemon import serving
from daemon.config import Config
from daemon.domain.errors import DomainError
from daemon.log import get_logger, set_up
from daemon.memory import return_large_arrays
from daemon.parts import build
from daemon.store.pool import Database
from daemon.transport.server import bind_beside

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
    # Ctrl-C reaches the whole foreground group, SIGTERM of systemd the whole unit; the daemon says
    # when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    orders = msgspec.json.decode(line, type=Orders)
    # Everything is given, so neither a file nor the environment has a say.
    config = Config(**orders.config)
    set_up(level=config.log.level, text=orders.log_text, process=orders.process)
    try:
        with asyncio.Runner(loop_factory=serving.new_loop) as runner:
            runner.run(_serve(orders, config, parent=parent))
    except (DomainError, OSError) as error:
        # The daemon tries again.
        log.error("sibling_failed", error=str(error))
        sys.exit(EXIT_TRY_LATER)


async def _serve(orders: Orders, config: Config, *, parent: int) -> None:
    return_large_arrays()
    stop = serving.Stop(is_alone=lambda: os.getppid() != parent)
    _watch_stdin(stop)
    async with AsyncExitStack() as stack:
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
        await serving.run(parts, listening, stop)
    log.info("stopped")


def _watch_stdin(stop: serving.Stop) -> None:
    """Stop at the end of standard input."""
    loop = asyncio.get_running_loop()
    number = sys.stdin.fileno()

    def on_readable() -> None:
        if not os.read(number, 4096):
            loop.remove_reader(number)
            stop.event.set()

    loop.add_reader(number, on_readable)


if __name__ == "__main__":
    main()
