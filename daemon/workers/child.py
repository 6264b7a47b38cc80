"""Keeps a child process running: started with its orders on standard input, started again when it
dies, ended by closing that pipe. What it does is its own module's.

As long as it makes progress it says so on its standard output, which is for nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from daemon import faults
from daemon.log import get_logger
from daemon.workers.systemd import ServiceManager

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
CALM_S = 60.0
"""A child that ran this long is started again at once."""
END_WAIT_S = 5.0
BEAT_EVERY_S = 2.0
SILENT_MAX_S = 150.0
"""Who says nothing for so long is killed, and started again. The service manager, where there is
one, hears before that that something stands still."""
_BEAT = b"\n"
_BEATS_BYTES = 4096

log = get_logger()


class Standing:
    """The orders of a child, one line: what it gets as it starts, and again when they change."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._to: asyncio.StreamWriter | None = None

    def change(self, line: bytes) -> None:
        """From now on these; the child that runs gets them as a further line."""
        self._line = line
        if self._to is not None and not self._to.is_closing():
            self._to.write(line + b"\n")

    async def give(self, to: asyncio.StreamWriter) -> None:
        """To a child that has just begun."""
        self._to = to
        to.write(self._line + b"\n")
        await to.drain()

    def end(self) -> None:
        """There is nobody to tell."""
        self._to = None


class Parent(ServiceManager):
    """Who keeps this process; it wants to hear what a service manager would."""

    def __init__(self) -> None:
        super().__init__(watchdog_s=3 * BEAT_EVERY_S)

    def alive(self) -> None:
        # When it is gone, standard input says so too, and ends us.
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), _BEAT)


async def keep(module: str, standing: Standing, *, end_wait_s: float = END_WAIT_S) -> None:
    """Run `python -m module` until cancelled, and then for `end_wait_s` at most."""
    backoff_s = BACKOFF_MIN_S
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        code = await _run_once(module, standing, end_wait_s=end_wait_s)
        if loop.time() - began_s > CALM_S:
            backoff_s = BACKOFF_MIN_S
        log.error("child_died", module=module, exit_code=code, restart_in_s=backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)


async def _run_once(module: str, orders: Standing, *, end_wait_s: float) -> int:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=pipe, stdout=pipe, env=_environment()
    )
    assert process.stdin is not None
    try:
        await orders.give(process.stdin)
        return await _listen(process, module)
    except (BrokenPipeError, ConnectionResetError):
        return await process.wait()
    finally:
        orders.end()
        if process.returncode is None:
            process.stdin.close()
            await _end(process, wait_s=end_wait_s)


async def _listen(process: asyncio.subprocess.Process, module: str) -> int:
    """Until it has ended. Each of its beats is a step of ours, which whoever watches us sees."""
    try:
        while True:
            async with asyncio.timeout(SILENT_MAX_S):
                if not await _has_beaten(process):
                    break
    except TimeoutError:
        log.error("child_silent", module=module, silent_s=SILENT_MAX_S)
        process.kill()
    return await process.wait()


async def _has_beaten(process: asyncio.subprocess.Process) -> bool:
    """Wait for the next beat; False when there will be none."""
    assert process.stdout is not None
    return bool(await process.stdout.read(_BEATS_BYTES))


def _environment() -> dict[str, str]:
    """Without our settings, of which some are secrets: what a child is to know are its orders."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TELEMETRY_") or name == faults.VARIABLE
    }


async def _end(process: asyncio.subprocess.Process, *, wait_s: float) -> None:
    """Wait for the child to leave by itself; then kill it."""
    try:
        async with asyncio.timeout(wait_s):
            while await _has_beaten(process):
                pass
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
