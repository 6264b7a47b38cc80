"""Tails the journal for this process: woken by own commits, by NOTIFY, and by a poll so that a lost
NOTIFY costs latency only."""

from __future__ import annotations

import asyncio

from daemon.domain.errors import DomainError
from daemon.log import get_logger
from daemon.service.tail import Tail

POLL_S = 0.25
OWN_COMMITS_EVERY_S = 0.02
"""Own commits come thousands a second; following them more often than this would cost more than it
tells."""
TRIM_EVERY_TURNS = 8

log = get_logger()


async def run(tail: Tail) -> None:
    """Follow until cancelled; a failed turn is logged once per outage and tried again."""
    is_failing = False
    turns = 0
    while True:
        await tail.wait_for_work(POLL_S)
        try:
            if await tail.turn():
                await asyncio.sleep(OWN_COMMITS_EVERY_S)
            turns += 1
            if turns % TRIM_EVERY_TURNS == 0:
                await tail.trim()
        except DomainError as error:
            if not is_failing:
                log.warning("follower_waits_for_database", code=error.error_code)
            is_failing = True
            await asyncio.sleep(POLL_S)
        except Exception:
            log.error("follower_turn_failed", exc_info=True)
            await asyncio.sleep(1)
        else:
            is_failing = False
