"""Subscriptions that are made over HTTP and found by a socket, in whichever process it arrives.

They live some time without a socket; what one asks for is checked in service/streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Conflict, NotFound
from daemon.domain.ids import new_id
from daemon.store.subscriptions import SubscriptionRow, SubscriptionStore

HOLD_EVERY_S = 15.0
"""How often a process says which subscriptions have a socket here."""
OF_A_KEY_MAX = 20_000


class UnknownSubscription(NotFound):
    """There is no such subscription."""

    code = "unknown_subscription"


class Subscriptions:
    """The subscriptions of the fleet, and the sockets that this process holds for them."""

    def __init__(self, store: SubscriptionStore, *, clock: Clock, life_s: float = 60.0) -> None:
        self._store = store
        self._clock = clock
        self.life_s = life_s
        self._held: dict[str, list[Callable[[], None]]] = {}
        self._fresh: set[str] = set()
        self._released: set[str] = set()
        self._is_told = False
        self._has_work = asyncio.Event()

    async def create(self, by: Principal, wanted: dict[str, Any]) -> str:
        """Store a subscription and return its id. Raises Conflict over OF_A_KEY_MAX."""
        now_us = self._clock.now_us()
        subscription_id = new_id("sub", now_us=now_us)
        row = SubscriptionRow(subscription_id, by.key_id, wanted, as_datetime(now_us))
        if not await self._store.insert(row, life_s=self.life_s, at_most=OF_A_KEY_MAX):
            raise Conflict(
                f"this key has {OF_A_KEY_MAX} subscriptions already", code="too_many_subscriptions"
            )
        return subscription_id

    async def find(self, subscription_id: str, *, by: Principal) -> dict[str, Any]:
        """What it asks for. Raises UnknownSubscription, also for another key's."""
        row = await self._store.find(subscription_id)
        if row is None or not _may_use(by, row):
            raise UnknownSubscription()
        return row.wanted

    async def cancel(self, subscription_id: str, *, by: Principal) -> None:
        """Remove it and close its sockets: here at once, elsewhere when they are told.

        Raises UnknownSubscription, also for another key's.
        """
        await self.find(subscription_id, by=by)
        if not await self._store.delete(subscription_id):
            raise UnknownSubscription()
        self._close(subscription_id)

    # -- sockets -----------------------------------------------------------------------------

    def hold(self, subscription_id: str, close: Callable[[], None]) -> None:
        """A socket of it is open here; `close` is called when it is cancelled."""
        self._held.setdefault(subscription_id, []).append(close)
        self._fresh.add(subscription_id)
        self._has_work.set()

    def release(self, subscription_id: str, close: Callable[[], None]) -> None:
        """A socket of it is gone; from the last one on it lives `life_s`."""
        self._let_go(subscription_id, close)
        if subscription_id not in self._held:
            self._released.add(subscription_id)
            self._has_work.set()

    def _let_go(self, subscription_id: str, close: Callable[[], None]) -> None:
        sockets = self._held.get(subscription_id, [])
        if close in sockets:
            sockets.remove(close)
        if not sockets:
            self._held.pop(subscription_id, None)

    @property
    def _hold_s(self) -> float:
        """A process that dies is not heard of any more: then the life begins at its last word."""
        return self.life_s + HOLD_EVERY_S

    def tell(self) -> None:
        """A NOTIFY came: one was cancelled somewhere."""
        self._is_told = True
        self._has_work.set()

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when a socket came or went, `tell` was called, or after the timeout."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._has_work.wait()
        except TimeoutError:
            return

    async def turn(self) -> None:
        """Write down which sockets came and went, many at once, and close those of cancelled ones.

        Raises StoreUnavailable.
        """
        self._has_work.clear()
        fresh, self._fresh = self._fresh & self._held.keys(), set()
        released, self._released = self._released - self._held.keys(), set()
        is_told, self._is_told = self._is_told, False
        if released:
            await self._store.hold(released, life_s=self.life_s)
        if fresh:
            self._close_all_but(fresh, await self._store.hold(fresh, life_s=self._hold_s))
        if is_told and self._held:
            held = set(self._held)
            self._close_all_but(held, await self._store.present(held))

    async def keep(self) -> None:
        """Say which are held here, and close the sockets of those that are gone.

        Raises StoreUnavailable.
        """
        if self._held:
            held = set(self._held)
            self._close_all_but(held, await self._store.hold(held, life_s=self._hold_s))

    def _close_all_but(self, held: set[str], present: set[str]) -> None:
        for subscription_id in held:
            if subscription_id not in present:
                self._close(subscription_id)

    def _close(self, subscription_id: str) -> None:
        for close in list(self._held.get(subscription_id, ())):
            close()


def _may_use(by: Principal, row: SubscriptionRow) -> bool:
    is_for_all = "admin" in by.scopes and by.sees_everything
    return is_for_all or by.key_id == row.key_id
