"""Runs the compaction when enough waits or the oldest is old enough, in one daemon of the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from daemon.domain.errors import DomainError, LeaseLost
from daemon.log import get_logger
from daemon.service.compaction import Compaction
from daemon.store.leases import Grant
from daemon.workers.lease import Lease
from daemon.workers.pulse import watched

TURN_S = 1.0
RETRY_S = 1.0
# Looking through all series-days for due merges is done after so many idle turns.
MERGE_EVERY_TURNS = 30

log = get_logger()


def _ignore(_position: int) -> None:
    """Nobody wants to know."""


class Compactor:
    """One per process; only the holder of the lease writes."""

    def __init__(
        self,
        compaction: Compaction,
        lease: Lease,
        *,
        points: int,
        age: timedelta,
        on_compacted: Callable[[int], None] = _ignore,
    ) -> None:
        self._compaction = compaction
        self._lease = lease
        self.configure(points=points, age=age)
        self._on_compacted = on_compacted
        self._idle_turns = 0

    def configure(self, *, points: int, age: timedelta) -> None:
        """From now on these are enough, and old enough."""
        self._points = points
        self._age_s = age.total_seconds()

    async def run(self) -> None:
        """Work until cancelled, then give the lease back."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watched(self._lease.keep(), name=self._lease.label))
                while True:
                    wait_s = await self._turn()
                    await asyncio.sleep(wait_s)
        finally:
            await self._lease.release()

    async def _turn(self) -> float:
        """One look; returns how long to wait for the next, in seconds."""
        try:
            is_busy = await self.run_once()
        except LeaseLost:
            self._lease.drop()
        except DomainError as error:
            log.warning("compaction_waits", code=error.error_code)
            return RETRY_S
        except Exception:
            log.error("compaction_failed", exc_info=True)
            return RETRY_S
        else:
            return 0.0 if is_busy else TURN_S
        return TURN_S

    async def run_once(self, *, force: bool = False) -> bool:
        """Compact and merge what is due, or with `force` all; True when something was written.

        False also while another process holds the lease. Raises LeaseLost and TryLater.
        """
        grant = await self._lease.ready(self._compaction.begin)
        if grant is None:
            return False
        try:
            return await self._work(grant, force=force)
        except BaseException:
            self._lease.doubt()
            raise

    async def _work(self, grant: Grant, *, force: bool) -> bool:
        has_compacted = await self._compact(grant, force=force)
        self._idle_turns += 1
        has_merged = False
        if force or has_compacted or self._idle_turns >= MERGE_EVERY_TURNS:
            self._idle_turns = 0
            has_merged = await self._merge(grant, force=force)
        return has_compacted or has_merged

    async def _compact(self, grant: Grant, *, force: bool) -> bool:
        """All slices that wait, when there are enough."""
        pending = await self._compaction.pending()
        is_due = pending.points >= self._points or pending.age_s >= self._age_s
        if not pending.blocks or not (is_due or force):
            return False
        has_written = False
        while await self._lease.hold() == grant and await self._compaction.compact(grant):
            has_written = True
            self._on_compacted(self._compaction.position)
            if not force and not await self._is_due_again():
                break
        return has_written

    async def _is_due_again(self) -> bool:
        return (await self._compaction.pending()).points >= self._points

    async def _merge(self, grant: Grant, *, force: bool) -> bool:
        has_written = False
        while await self._lease.hold() == grant and await self._compaction.merge_some(
            grant, everything=force
        ):
            has_written = True
            if not force and (await self._compaction.pending()).points >= self._points:
                break
        await self._compaction.give_back_room()
        return has_written
