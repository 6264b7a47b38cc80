"""Says which subscriptions have a socket in this process, and closes the sockets of those that were
cancelled elsewhere."""

from __future__ import annotations

import asyncio

from daemon.domain.errors import DomainError
from daemon.log import get_logger
from daemon.service.subscriptions import HOLD_EVERY_S, Subscriptions

TOGETHER_S = 0.1
"""What comes within this is written in one statement."""

log = get_logger()


async def run(subscriptions: Subscriptions) -> None:
    """Until cancelled; what a failed turn left out is made up for by the next `keep`."""
    loop = asyncio.get_running_loop()
    hold_at_s = loop.time() + HOLD_EVERY_S
    while True:
        await subscriptions.wait_for_work(hold_at_s - loop.time())
        await asyncio.sleep(TOGETHER_S)
        try:
            await subscriptions.turn()
            if loop.time() >= hold_at_s:
                hold_at_s = loop.time() + HOLD_EVERY_S
                await subscriptions.keep()
        except DomainError as error:
            log.info("subscriptions_wait_for_database", code=error.error_code)
            await asyncio.sleep(1)
        except Exception:
            log.error("subscriptions_failed", exc_info=True)
            await asyncio.sleep(1)
