"""Runs the housekeeping once a minute, in one daemon of the fleet."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from daemon.clock import Clock
from daemon.domain.errors import DomainError, LeaseLost
from daemon.log import get_logger
from daemon.service.retention import Keep, Retention
from daemon.workers.lease import Lease
from daemon.workers.pulse import watched

EVERY_S = 60
HOUSEKEEPING = "housekeeping"

log = get_logger()


class Housekeeping:
    """One per process; only the holder of the lease removes anything."""

    def __init__(self, retention: Retention, lease: Lease, *, clock: Clock) -> None:
        self._retention = retention
        self._lease = lease
        self._clock = clock
        self._is_due = asyncio.Event()
        self.removed: Counter[str] = Counter()

    @property
    def is_leader(self) -> bool:
        """Whether this process keeps house for all."""
        return self._lease.grant is not None

    def keep(self, keep: Keep) -> None:
        """From the next round on, keep things for so long."""
        self._retention.keep(keep)

    async def prepare(self) -> None:
        """Make the partitions that appends need, before this process says it is ready."""
        await self._retention.make_partitions(self._clock.now_us())

    async def run(self) -> None:
        """Work until cancelled, then give the lease back."""
        # It only ticks: what is due is in the tables, so nothing is lost with its memory.
        scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        scheduler.add_job(self._tick, "interval", seconds=EVERY_S)
        scheduler.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watched(self._lease.keep(), name=self._lease.label))
                while True:
                    await self._turn()
                    await self._is_due.wait()
                    self._is_due.clear()
        finally:
            scheduler.shutdown(wait=False)
            await self._lease.release()

    def wake(self) -> None:
        """Work now: somebody asked for it."""
        self._is_due.set()

    async def _tick(self) -> None:
        self._is_due.set()

    async def _turn(self) -> None:
        try:
            await self.run_once(self._clock.now_us())
        except LeaseLost:
            self._lease.drop()
        except DomainError as error:
            log.warning("housekeeping_waits", code=error.error_code)
        except Exception:
            log.error("housekeeping_failed", exc_info=True)

    async def run_once(self, now_us: int) -> dict[str, int]:
        """One round; returns what was made or removed, nothing while another holds the lease.

        Raises LeaseLost and TryLater.
        """
        await self._lease.take()
        grant = self._lease.grant
        if grant is None:
            # Every process keeps the journal writable, whoever else is at work.
            return {"partitions_made": await self._retention.make_partitions(now_us)}
        done = await self._retention.run_once(now_us, grant)
        self.removed.update(done)
        if any(done.values()):
            log.info("housekeeping_done", **done)
        return done
