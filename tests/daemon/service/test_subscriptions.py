"""Subscriptions live without a socket for a while, are their key's, and end everywhere at once."""

from __future__ import annotations

import asyncio

import pytest
from stacks import ADMIN

from daemon.clock import SystemClock
from daemon.domain.access import Principal
from daemon.domain.errors import Conflict
from daemon.service import subscriptions as module
from daemon.service.subscriptions import Subscriptions, UnknownSubscription
from daemon.store.pool import Database
from daemon.store.subscriptions import SubscriptionStore

pytestmark = pytest.mark.anyio
MINE = Principal("key_mine", "mine", frozenset({"read"}))
OTHER = Principal("key_other", "other", frozenset({"read"}))


def a_process(database: Database, *, life_s: float = 60.0) -> Subscriptions:
    return Subscriptions(SubscriptionStore(database), clock=SystemClock(), life_s=life_s)


async def test_it_is_found_by_its_key_in_every_process(database: Database) -> None:
    made = await a_process(database).create(MINE, {"devices": ["a"]})
    other = a_process(database)

    assert await other.find(made, by=MINE) == {"devices": ["a"]}
    assert await other.find(made, by=ADMIN) == {"devices": ["a"]}
    with pytest.raises(UnknownSubscription):
        await other.find(made, by=OTHER)


async def test_it_ends_without_a_socket(database: Database) -> None:
    process = a_process(database, life_s=0.3)
    made = await process.create(MINE, {})
    await asyncio.sleep(0.4)

    with pytest.raises(UnknownSubscription):
        await process.find(made, by=MINE)


async def test_a_socket_keeps_it_and_its_end_begins_the_life_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_EVERY_S", 0.3)
    process = a_process(database, life_s=0.3)
    made = await process.create(MINE, {})
    closed: list[str] = []

    def close() -> None:
        closed.append(made)

    await process.hold(made, close)
    for _ in range(4):
        await asyncio.sleep(0.2)
        await process.keep()
    await process.find(made, by=MINE)
    await process.release(made, close)
    await process.find(made, by=MINE)
    await asyncio.sleep(0.4)

    with pytest.raises(UnknownSubscription):
        await process.find(made, by=MINE)
    assert closed == []


async def test_the_last_of_two_sockets_counts(database: Database) -> None:
    process = a_process(database, life_s=0.2)
    made = await process.create(MINE, {})

    def one() -> None: ...

    def two() -> None: ...

    await process.hold(made, one)
    await process.hold(made, two)
    await process.release(made, one)
    await asyncio.sleep(0.3)
    await process.keep()

    await process.find(made, by=MINE)


async def test_a_cancelled_one_closes_its_sockets_here_and_elsewhere(database: Database) -> None:
    here, elsewhere = a_process(database), a_process(database)
    made = await here.create(MINE, {})
    closed: list[str] = []
    await here.hold(made, lambda: closed.append("here"))
    await elsewhere.hold(made, lambda: closed.append("elsewhere"))
    with pytest.raises(UnknownSubscription):
        await here.cancel(made, by=OTHER)
    await here.cancel(made, by=MINE)
    told = list(closed)
    await elsewhere.look()

    assert told == ["here"]
    assert closed == ["here", "elsewhere"]
    with pytest.raises(UnknownSubscription):
        await here.cancel(made, by=MINE)
    with pytest.raises(UnknownSubscription):
        await elsewhere.hold(made, lambda: None)


async def test_a_notify_wakes_the_keeper(database: Database) -> None:
    process = a_process(database)

    assert not await process.wait_until_told(0.01)
    process.tell()
    assert await process.wait_until_told(5)
    assert not await process.wait_until_told(0.01)


async def test_a_key_has_so_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OF_A_KEY_MAX", 2)
    process = a_process(database)
    for _ in range(2):
        await process.create(MINE, {})
    with pytest.raises(Conflict):
        await process.create(MINE, {})

    await process.create(OTHER, {})
