"""Who sends how much just now: points a second by device, metric or key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden
from daemon.domain.key_request import is_widest, is_within
from daemon.live.rates import SECONDS, SeriesRates
from daemon.live.traffic import Traffic
from daemon.service.accounts import Accounts
from daemon.service.key_access import KeyAccess
from daemon.service.selection import sees
from daemon.service.tail import Tail

WINDOW_S_MAX = SECONDS - 1
INLINE_SERIES_MAX = 5_000
"""More series than this are added up in a thread."""


class By(StrEnum):
    """What rates are added up by."""

    DEVICE = "device"
    METRIC = "metric"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Rate:
    """One sender's share; `label` is the name of a key, whose `name` here is its id."""

    name: str
    points: int
    points_per_second: float
    label: str | None = None


@dataclass(frozen=True, slots=True)
class RateTable:
    """The busiest first; the total counts everything the asker may see, listed or not."""

    by: By
    window_s: int
    rates: list[Rate]
    total_points_per_second: float


class Rates:
    """Points of all daemons by device and metric, as the tail follows them; by key those that
    this process took in."""

    def __init__(
        self, tail: Tail, *, traffic: Traffic, keys: KeyAccess, accounts: Accounts, clock: Clock
    ) -> None:
        self._registry = tail.registry
        self._traffic = traffic
        self._keys = keys
        self._accounts = accounts
        self._series = SeriesRates(clock)
        tail.on_points = self._series.count

    async def table(self, principal: Principal, *, by: By, window_s: int, limit: int) -> RateTable:
        """Rates of the last `window_s` whole seconds.

        Raises Forbidden for keys without scope, StoreUnavailable.
        """
        seconds = self._series.covered_s(window_s)
        if by is By.KEY:
            if not principal.scopes & {"keys", "admin"}:
                raise Forbidden("rates by key need the scope keys")
            senders = await self._senders(principal, window_s)
            return _table(by, window_s, limit, _rates(senders, seconds))
        ids, counts = self._series.sums(window_s)
        pairs = zip(ids.tolist(), counts.tolist(), strict=True)
        if len(ids) > INLINE_SERIES_MAX:
            sums = await asyncio.to_thread(self._sums, principal, by, pairs)
        else:
            sums = self._sums(principal, by, pairs)
        found = ((name, points, None) for name, points in sums.items())
        return _table(by, window_s, limit, _rates(found, seconds))

    async def _senders(self, principal: Principal, window_s: int) -> list[tuple[str, int, str]]:
        """The asker, and the keys and accounts that it may administer; all for who may do all."""
        found = self._traffic.senders(window_s)
        if is_widest(principal):
            return found
        ids = [sender for sender, _, _ in found]
        seen = {principal.key_id} | await self._keys.within(ids, by=principal)
        if "admin" in principal.scopes:
            holders = await self._accounts.holders(ids)
            seen |= {one for one, holder in holders.items() if is_within(holder, principal)}
        return [one for one in found if one[0] in seen]

    def _sums(
        self, principal: Principal, by: By, pairs: Iterable[tuple[int, int]]
    ) -> dict[str, int]:
        registry = self._registry
        sums: dict[str, int] = {}
        for series_id, points in pairs:
            if series_id >= registry.size:
                continue
            device_id, metric_name = registry.device_of[series_id], registry.metric_of[series_id]
            # A device that is gone, or one that is none of the asker's business.
            if device_id is None or metric_name is None:
                continue
            if principal.sees_everything or sees(principal, device_id, metric_name):
                name = device_id if by is By.DEVICE else metric_name
                sums[name] = sums.get(name, 0) + points
        return sums


def _rates(found: Iterable[tuple[str, int, str | None]], seconds: int) -> list[Rate]:
    return [Rate(name, points, round(points / seconds, 3), label) for name, points, label in found]


def _table(by: By, window_s: int, limit: int, rates: list[Rate]) -> RateTable:
    ordered = sorted(rates, key=lambda rate: (-rate.points, rate.name))
    total = round(sum(rate.points_per_second for rate in rates), 3)
    return RateTable(by, window_s, ordered[:limit], total)
