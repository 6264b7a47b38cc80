"""The compactor's process: `python -m daemon.compactor`, started by a daemon and ending with it.

Compaction computes: in the daemon's own process it would hold the interpreter while requests wait.
It needs nothing of the daemon but the database, so it stands beside it. Orders come as a JSON line
on standard input, and as a further one after each reload; its end ends the process: when the daemon
dies, however, the pipe closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from datetime import timedelta
from uuid import UUID

import msgspec

from daemon.clock import SystemClock
from daemon.log import get_logger, set_level, set_up
from daemon.memory import return_large_arrays
from daemon.order_lines import OrderLines
from daemon.service.compaction import Compaction
from daemon.service.tail import COMPACTOR
from daemon.signals import leave_signals_to_parent, say_where_on_signal
from daemon.store.pool import Database, PoolLimits
from daemon.workers.child import BEAT_EVERY_S, Parent
from daemon.workers.compactor import Compactor
from daemon.workers.lease import Lease
from daemon.workers.pulse import Pulse

CONNECTIONS = 2
NICE = 10

log = get_logger()


class Orders(msgspec.Struct, frozen=True):
    """What the daemon tells its compactor; the address may hold a password, so it is no argument.

    `holder` is the daemon's id: the lease is the daemon's, whichever process works under it.
    """

    dsn: str
    holder: UUID
    points: int
    age_s: float
    log_level: str
    log_text: bool
    statement_cache_size: int


def main() -> None:
    """Read the orders and compact until standard input ends."""
    leave_signals_to_parent()
    # Requests go first when the host is busy; a sandbox may forbid to say so.
    with contextlib.suppress(PermissionError):
        os.nice(NICE)
    return_large_arrays()
    lines = OrderLines(sys.stdin.fileno())
    line = lines.first()
    if line is None:
        return
    orders = msgspec.json.decode(line, type=Orders)
    set_up(level=orders.log_level, text=orders.log_text)
    asyncio.run(_compact(orders, lines))


async def _compact(orders: Orders, lines: OrderLines) -> None:
    limits = PoolLimits(
        query_connections=CONNECTIONS,
        control_connections=CONNECTIONS,
        statement_cache_size=orders.statement_cache_size,
    )
    say_where_on_signal()
    database = Database(orders.dsn, limits=limits)
    await database.open()
    clock = SystemClock()
    compactor = Compactor(
        Compaction(database, clock=clock),
        Lease(database, COMPACTOR, holder=orders.holder, clock=clock),
        points=orders.points,
        age=timedelta(seconds=orders.age_s),
    )
    pulse, ended = Pulse(clock), asyncio.Event()
    lines.watch(lambda line: _change(compactor, line), ended.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(pulse.watch(compactor.run()))
            telling = tasks.create_task(_tell(Parent(), pulse))
            await ended.wait()
            working.cancel()
            telling.cancel()
    finally:
        await database.close()


def _change(compactor: Compactor, line: bytes) -> None:
    """What of further orders can change at once; the rest is as it was."""
    orders = msgspec.json.decode(line, type=Orders)
    set_level(orders.log_level)
    compactor.configure(points=orders.points, age=timedelta(seconds=orders.age_s))
    log.info(
        "compactor_reloaded",
        log_level=orders.log_level,
        points=orders.points,
        age_s=orders.age_s,
    )


async def _tell(parent: Parent, pulse: Pulse) -> None:
    """Until cancelled: say that the compaction goes on, while it does."""
    while True:
        if not pulse.stuck():
            parent.alive()
        await asyncio.sleep(BEAT_EVERY_S)


if __name__ == "__main__":
    main()
