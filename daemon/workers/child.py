"""Keeps a child process running: started with its orders on standard input, started again when it
dies, ended by closing that pipe. What it does is its own module's."""

from __future__ import annotations

import asyncio
import os
import sys

from daemon import faults
from daemon.log import get_logger

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
CALM_S = 60.0
"""A child that ran this long is started again at once."""
END_WAIT_S = 5.0

log = get_logger()


async def keep(module: str, orders: bytes, *, end_wait_s: float = END_WAIT_S) -> None:
    """Run `python -m module` until cancelled, and then for `end_wait_s` at most; `orders` is one
    line."""
    backoff_s = BACKOFF_MIN_S
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        code = await _run_once(module, orders, end_wait_s=end_wait_s)
        if loop.time() - began_s > CALM_S:
            backoff_s = BACKOFF_MIN_S
        log.error("child_died", module=module, exit_code=code, restart_in_s=backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)


async def _run_once(module: str, orders: bytes, *, end_wait_s: float) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, env=_environment()
    )
    assert process.stdin is not None
    try:
        process.stdin.write(orders + b"\n")
        await process.stdin.drain()
        return await process.wait()
    except (BrokenPipeError, ConnectionResetError):
        return await process.wait()
    finally:
        if process.returncode is None:
            process.stdin.close()
            await _end(process, wait_s=end_wait_s)


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
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
