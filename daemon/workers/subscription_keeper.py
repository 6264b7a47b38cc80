"""Says which subscriptions have a socket in this process, and closes the sockets of those that were
cancelled elsewhere."""

from __future__ import annotations

import asyncio

from daemon.domain.errors import DomainError
from daemon.log import get_logger
from daemon.service.subscriptions import HOLD_EVERY_S, Subscriptions

log = get_logger()


async def run(subscriptions: Subscriptions) -> None:
    """Until cancelled; a turn that fails is made up for by the next."""
    loop = asyncio.get_running_loop()
    hold_at_s = loop.time() + HOLD_EVERY_S
    while True:
        is_told = await subscriptions.wait_until_told(hold_at_s - loop.time())
        try:
            if is_told:
                await subscriptions.look()
            else:
                hold_at_s = loop.time() + HOLD_EVERY_S
                await subscriptions.keep()
        except DomainError as error:
            log.info("subscriptions_wait_for_database", code=error.error_code)
            await asyncio.sleep(1)
        except Exception:
            log.error("subscriptions_failed", exc_info=True)
            await asyncio.sleep(1)
