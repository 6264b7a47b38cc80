"""Publishes flushes and events to NATS in their order, at least once, in one process of the fleet.
While NATS is away it waits; ingest knows nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from daemon import faults
from daemon.clock import Clock
from daemon.domain.cloud_events import CloudEvent
from daemon.domain.errors import DomainError, LeaseLost
from daemon.log import get_logger
from daemon.service.relaying import PAGE_ENTRIES, Relaying
from daemon.workers.lease import Lease
from daemon.workers.pulse import watched

TURN_S = 0.05
"""What comes meanwhile goes out together, with one move of the position."""
STANDBY_S = 1.0
"""How often a process that does not hold the lease asks for it."""
RETRY_MIN_S = 0.5
RETRY_MAX_S = 5.0

log = get_logger()


class Publisher(Protocol):
    """A way to other systems."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def publish(self, events: Sequence[CloudEvent]) -> None: ...
    async def close(self) -> None: ...


class Relay:
    """One per process; only the holder of the lease publishes."""

    def __init__(
        self, relaying: Relaying, publisher: Publisher, lease: Lease, *, clock: Clock
    ) -> None:
        self._relaying = relaying
        self._publisher = publisher
        self._lease = lease
        self._clock = clock
        self._position = 0
        self._retry_s = RETRY_MIN_S
        self._down_since_s: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether this process reaches the other side."""
        return self._publisher.is_connected

    async def prepare(self) -> None:
        """Begin here, the first time: before this process says it is ready."""
        await self._relaying.prepare()

    @property
    def is_leader(self) -> bool:
        """Whether this process publishes for all."""
        return self._lease.grant is not None

    async def run(self) -> None:
        """Work until cancelled, then give the lease back."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watched(self._lease.keep(), name=self._lease.label))
                while True:
                    await asyncio.sleep(await self._turn())
        finally:
            await self._publisher.close()
            await self._lease.release()

    async def _turn(self) -> float:
        """One look; returns how long to wait for the next, in seconds."""
        try:
            await self._reach()
            published = await self.run_once()
        except LeaseLost:
            self._lease.drop()
        except DomainError as error:
            return self._wait_longer(error)
        except Exception:
            log.error("relay_failed", exc_info=True)
            return RETRY_MAX_S
        else:
            self._note_up()
            if published >= PAGE_ENTRIES:
                return 0.0
            return TURN_S if self._lease.grant else STANDBY_S
        return STANDBY_S

    async def _reach(self) -> None:
        """Connect; who can't leaves the work to another process. Raises TryLater."""
        try:
            await self._publisher.connect()
        except DomainError:
            if self._lease.grant is not None:
                await self._lease.release()
            raise

    def _wait_longer(self, error: DomainError) -> float:
        if self._down_since_s is None:
            self._down_since_s = self._clock.monotonic_s()
            log.error("relay_down", code=error.error_code, reason=error.detail)
        wait_s, self._retry_s = self._retry_s, min(2 * self._retry_s, RETRY_MAX_S)
        return wait_s

    def _note_up(self) -> None:
        if self._down_since_s is not None:
            down_s = self._clock.monotonic_s() - self._down_since_s
            log.info("relay_up", down_s=round(down_s, 1))
        self._down_since_s = None
        self._retry_s = RETRY_MIN_S

    async def run_once(self) -> int:
        """Publish what comes next and move the position; returns how many messages that were.

        0 also while another process holds the lease. Raises LeaseLost and TryLater; then what
        was published is published again, with the same ids.
        """
        grant = await self._lease.ready(self._begin)
        if grant is None:
            return 0
        try:
            page = await self._relaying.page(self._position)
            if page is None:
                return 0
            await self._publisher.publish(page.events)
            faults.point(faults.Point.RELAY_BEFORE_POSITION)
            await self._relaying.move(grant, position=self._position, to=page.to)
        except BaseException:
            self._lease.doubt()
            raise
        self._position = page.to
        return len(page.events)

    async def _begin(self, position: int) -> None:
        self._position = position
