"""Keeps one lease of the fleet for this process: takes it, renews it, gives it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from daemon.clock import Clock
from daemon.domain.errors import DomainError
from daemon.log import get_logger
from daemon.store import leases
from daemon.store.leases import Grant
from daemon.store.pool import Database

TTL_S = 10.0
RENEW_EVERY_S = 3.0
# The holder stops this long before another may take the lease.
MARGIN_S = 2.0

log = get_logger()


class Lease:
    """`grant` is what writes are made with; it is None as soon as it may not be ours any more."""

    def __init__(self, database: Database, name: str, *, holder: UUID, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._grant: Grant | None = None
        self._good_until_s = 0.0
        self._renew_at_s = 0.0
        self._begun: Grant | None = None
        self.name = name
        self.holder = holder

    @property
    def label(self) -> str:
        """What its keeping is called where loops are named."""
        return f"lease.{self.name}"

    @property
    def grant(self) -> Grant | None:
        is_good = self._clock.monotonic_s() < self._good_until_s
        return self._grant if is_good else None

    async def take(self) -> int | None:
        """Take or renew; returns the follower's position, or None while another holds it."""
        # Counted from before the request: the database's clock starts later.
        sent_s = self._clock.monotonic_s()
        taken = await leases.take(self._database, self.name, holder=self.holder, ttl_s=TTL_S)
        if taken is None:
            self.drop()
            return None
        before, (self._grant, position) = self._grant, taken
        self._good_until_s = sent_s + TTL_S - MARGIN_S
        self._renew_at_s = sent_s + RENEW_EVERY_S
        if before != self._grant:
            log.info("lease_taken", lease=self.name, epoch=self._grant.epoch)
        return position

    async def hold(self) -> Grant | None:
        """The grant, renewed when that is due; None when it is not ours any more."""
        if self.grant is not None and self._clock.monotonic_s() >= self._renew_at_s:
            await self.take()
        return self.grant

    async def ready(self, begin: Callable[[int], Awaitable[None]]) -> Grant | None:
        """The grant, for work that was begun in it; None when it is not ours.

        `begin` gets the follower's position, for each grant once and again after `doubt`.
        """
        grant = await self.hold()
        if grant is None or grant != self._begun:
            position = await self.take()
            grant = self.grant
            if position is None or grant is None:
                return None
            await begin(position)
            self._begun = grant
        return grant

    def doubt(self) -> None:
        """Whether the last was written is unknown: the next begins as the database says."""
        self._begun = None

    def drop(self) -> None:
        """Stop acting as the holder, without telling the database."""
        if self._grant is not None:
            log.info("lease_lost", lease=self.name, epoch=self._grant.epoch)
        self._grant = None

    async def release(self) -> None:
        """Give the lease back, so that another process need not wait for its end."""
        grant, self._grant = self._grant, None
        if grant is None:
            return
        try:
            async with asyncio.timeout(MARGIN_S):
                await leases.release(self._database, grant)
        except (DomainError, TimeoutError):
            log.warning("lease_not_released", lease=self.name)

    async def keep(self) -> None:
        """Renew while held, until cancelled; a failed renewal is tried again before the end."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self._grant is None:
                continue
            try:
                await self.take()
            except DomainError as error:
                log.warning("lease_not_renewed", lease=self.name, code=error.error_code)
