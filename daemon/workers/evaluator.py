"""Decides alerts as data arrives, and as time passes, in one process of the fleet."""

from __future__ import annotations

import asyncio

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from daemon.clock import Clock
from daemon.domain.errors import DomainError, LeaseLost
from daemon.domain.figures import Histogram
from daemon.log import get_logger
from daemon.service.evaluating import Evaluating
from daemon.service.tail import Tail
from daemon.store.evaluation import JudgedByOldRules
from daemon.store.leases import Grant
from daemon.workers.lease import Lease
from daemon.workers.pulse import watched

TURN_S = 0.1
"""Blocks of this long are judged together: an alert is this much later, and a turn is cheap."""
TICK_S = 5.0
TICKLESS_MAX_S = 60.0
STANDBY_S = 1.0
RETRY_S = 1.0
CHECK_EVERY_TURNS = 5
"""Whether rules were changed is asked after so many turns; a turn that writes always asks."""
SCHEDULE = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}

log = get_logger()


class Evaluator:
    """One per process; only the holder of the lease judges."""

    def __init__(self, evaluating: Evaluating, lease: Lease, *, tail: Tail, clock: Clock) -> None:
        self._evaluating = evaluating
        self._lease = lease
        self._tail = tail
        self._clock = clock
        self._is_tick_due = False
        self._ticked_s: float | None = None
        self._turns = 0
        self.failed_turns = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process decides the alerts."""
        return self._lease.grant is not None

    async def prepare(self) -> None:
        """Begin here, the first time: before this process says it is ready."""
        await self._evaluating.prepare()

    async def run(self) -> None:
        """Work until cancelled, then give the lease back."""
        # It holds no state, so nothing is lost with its memory: what it drives is in tables.
        scheduler = AsyncIOScheduler(job_defaults=SCHEDULE, timezone="UTC")
        scheduler.add_job(self._let_tick, "interval", seconds=TICK_S)
        scheduler.start()
        self._ticked_s = self._clock.monotonic_s()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watched(self._lease.keep(), name=self._lease.label))
                while True:
                    await asyncio.sleep(await self._turn())
        finally:
            scheduler.shutdown(wait=False)
            await self._lease.release()

    def _let_tick(self) -> None:
        self._is_tick_due = True
        self._ticked_s = self._clock.monotonic_s()

    @property
    def is_ticking(self) -> bool:
        """Whether the scheduler goes on: without it nothing that time drives would come."""
        since_s = self._clock.monotonic_s()
        return self._ticked_s is None or since_s - self._ticked_s < TICKLESS_MAX_S

    @property
    def position(self) -> int:
        """Up to where the journal is judged, while this process does it."""
        return self._evaluating.position

    @property
    def judged_points(self) -> int:
        """Since the start of this process."""
        return self._evaluating.judged_points

    @property
    def delay_s(self) -> Histogram:
        """From the commit of points to that of what was made of them."""
        return self._evaluating.delay_s

    def outcomes(self) -> dict[str, int]:
        """Turns since the start of this process, of those in which something was new."""
        return {"judged": self._evaluating.turns, "failed": self.failed_turns}

    async def _turn(self) -> float:
        """One look; returns how long to wait for the next, in seconds."""
        try:
            grant = await self._lease.ready(self._evaluating.begin)
            if grant is None:
                return STANDBY_S
            return 0.0 if await self._judge(grant) else TURN_S
        except LeaseLost:
            self._lease.drop()
        except JudgedByOldRules:
            self._lease.doubt()
            return 0.0
        except DomainError as error:
            self.failed_turns += 1
            self._evaluating.intake.failed(self._clock.now_us())
            log.warning("evaluation_waits", code=error.error_code)
        except Exception:
            self.failed_turns += 1
            log.error("evaluation_failed", exc_info=True)
        self._lease.doubt()
        return RETRY_S

    async def _judge(self, grant: Grant) -> bool:
        """What is behind the position; when level, what is due by time. False: nothing is left."""
        self._turns += 1
        if self._turns % CHECK_EVERY_TURNS == 0 and not await self._evaluating.is_current():
            raise JudgedByOldRules
        level_us = self._clock.now_us() - round(self._tail.behind_s * 1e6)
        if await self._evaluating.turn(grant):
            return True
        if self._is_tick_due:
            self._is_tick_due = False
            await self._evaluating.tick(grant, level_us=level_us)
        return False
