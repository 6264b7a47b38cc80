"""Sends messages to channels, in every process of the fleet: each message is one's to send."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from daemon.domain.errors import TryLater
from daemon.log import get_logger
from daemon.service.notifying import Job, Notifying
from daemon.store.notifications import Taking
from daemon.workers.pulse import watched

POLL_S = 0.5
TOGETHER_S = 0.02
RETRY_S = 1.0
GATHER_EVERY_S = 2.0
FINISH_S = 4.0
"""How long what is under way may take when the process ends; a request over HTTP takes less."""
UNDER_WAY_MAX = 32
UNDER_WAY_PER_CHANNEL_MAX = 8
"""A channel that answers slowly holds up no other."""

log = get_logger()


class Notifier:
    """One per process."""

    def __init__(self, notifying: Notifying) -> None:
        self._notifying = notifying
        self._under_way: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._is_free = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. What is under way then has a moment; what is left is sent again by
        another process, with the same id."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watched(self._gather(), name="notifier.gather"))
            try:
                while True:
                    await self._pause(await self._turn(tasks))
            finally:
                if self._sending:
                    await asyncio.wait(self._sending, timeout=FINISH_S)

    async def _pause(self, wait_s: float) -> None:
        """Wait, at most until there is room again."""
        self._is_free.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._is_free.wait()
                # What gets free in a moment is filled in one go.
                await asyncio.sleep(TOGETHER_S)
        except TimeoutError:
            pass

    async def _turn(self, tasks: asyncio.TaskGroup) -> float:
        """Begin what is due, as far as there is room; how long to wait, unless some gets free."""
        room = UNDER_WAY_MAX - self._under_way.total()
        if room <= 0:
            return POLL_S
        busy = [n for n, count in self._under_way.items() if count >= UNDER_WAY_PER_CHANNEL_MAX]
        try:
            taking = Taking(room, UNDER_WAY_PER_CHANNEL_MAX, busy)
            jobs, claimed = await self._notifying.take(taking)
        except TryLater as error:
            log.warning("notifier_waits", code=error.error_code)
            return RETRY_S
        except Exception:
            log.error("notifier_failed", exc_info=True)
            return RETRY_S
        for job in jobs:
            self._under_way[job.message.channel] += 1
            sending = tasks.create_task(self._send(job))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        # What was not sent took no room: there may be more.
        return 0.0 if claimed > len(jobs) else POLL_S

    async def _send(self, job: Job) -> None:
        try:
            await self._notifying.send(job)
        except TryLater as error:
            log.warning("notification_not_noted", code=error.error_code)
        except Exception:
            log.error("notification_failed", exc_info=True)
        finally:
            self._under_way[job.message.channel] -= 1
            self._under_way += Counter()
            self._is_free.set()

    async def _gather(self) -> None:
        while True:
            try:
                while await self._notifying.gather():
                    self._is_free.set()
            except TryLater as error:
                log.warning("digests_wait", code=error.error_code)
            except Exception:
                log.error("digest_failed", exc_info=True)
            await asyncio.sleep(GATHER_EVERY_S)

    async def count(self) -> None:
        """One background turn of the figures that the database knows."""
        await self._notifying.count()

    def by_kind(self) -> dict[tuple[str, str], int]:
        """Attempts of this process by kind of channel and outcome."""
        return dict(self._notifying.figures.by_kind)

    def numbers(self) -> dict[str, Any]:
        """For the detailed health."""
        return self._notifying.numbers() | {"notifications_under_way": self._under_way.total()}
