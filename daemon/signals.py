"""Signals that are the same in every process of the daemon; what ends one, and what reloads, is
app.py's."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal

from daemon.log import get_logger
from daemon.whereabouts import whereabouts

_LEFT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log = get_logger()


def leave_signals_to_parent() -> None:
    """Ctrl-C reaches the whole foreground group, a signal of systemd the whole unit; the daemon
    says when it is time."""
    for number in _LEFT:
        signal.signal(number, signal.SIG_IGN)


def say_where_on_signal() -> None:
    """SIGUSR1: say on standard error where the tasks are, and the threads, which works even when
    the loop hangs. SIGUSR2 would open log files anew, of which there are none."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _say_where)
    # Behind the loop's own, which it calls: the other way round it would be forgotten.
    faulthandler.register(signal.SIGUSR1, chain=True)
    # A handler rather than SIG_IGN, which programs that we start would inherit.
    loop.add_signal_handler(signal.SIGUSR2, _nothing)


def _say_where() -> None:
    count, places = whereabouts(asyncio.get_running_loop())
    # Whatever the level of the log is: somebody asked.
    log.error("tasks", count=count, stack=places, asked_by="SIGUSR1", pid=os.getpid())


def _nothing() -> None:
    """There is nothing to do."""
