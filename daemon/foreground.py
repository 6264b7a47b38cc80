"""A program that has the terminal until it ends, as a child of ours."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence

_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""The terminal sends these to everybody in front of it: psql ends its query, and we go on."""
_HANDED_ON = (signal.SIGTERM, signal.SIGHUP)


async def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it to its end on our own standard streams, and return the exit code a shell would show.

    Raises OSError when it can't be started.
    """
    loop = asyncio.get_running_loop()
    # Before it runs: what comes meanwhile must not end us alone.
    for ours in _OF_THE_TERMINAL:
        loop.add_signal_handler(ours, lambda: None)
    try:
        process = await asyncio.create_subprocess_exec(*arguments, env=environment)
        for ours in _HANDED_ON:
            loop.add_signal_handler(ours, _send, process, ours)
        code = await process.wait()
    finally:
        for ours in (*_OF_THE_TERMINAL, *_HANDED_ON):
            loop.remove_signal_handler(ours)
    return code if code >= 0 else 128 - code


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)
