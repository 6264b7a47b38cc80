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


async def pass_time(database: Database, seconds: float) -> None:
    """Let all end so much earlier."""
    async with database.connection("control") as connection:
        await connection.execute(
            "update telemetry.subscription"
            " set expires_at = expires_at - make_interval(secs => $1::float8)",
            seconds,
        )


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


async def test_a_socket_keeps_it_and_its_end_begins_the_life_anew(database: Database) -> None:
    process = a_process(database)
    made = await process.create(MINE, {})
    closed: list[str] = []

    def close() -> None:
        closed.append(made)

    process.hold(made, close)
    await process.turn()
    for _ in range(4):
        await pass_time(database, 50)
        await process.find(made, by=MINE)
        await process.keep()
    process.release(made, close)
    await process.turn()
    await pass_time(database, 30)
    await process.find(made, by=MINE)
    await pass_time(database, 31)

    with pytest.raises(UnknownSubscription):
        await process.find(made, by=MINE)
    assert closed == []


async def test_the_last_of_two_sockets_counts(database: Database) -> None:
    process = a_process(database)
    made = await process.create(MINE, {})

    def one() -> None: ...

    def two() -> None: ...

    process.hold(made, one)
    process.hold(made, two)
    process.release(made, one)
    await process.turn()
    # Longer than it lives without a socket.
    await pass_time(database, 61)

    await process.find(made, by=MINE)


async def test_a_cancelled_one_closes_its_sockets_here_and_elsewhere(database: Database) -> None:
    here, elsewhere = a_process(database), a_process(database)
    made, other = await here.create(MINE, {}), await here.create(MINE, {})
    closed: list[str] = []
    here.hold(made, lambda: closed.append("here"))
    elsewhere.hold(made, lambda: closed.append("elsewhere"))
    elsewhere.hold(other, lambda: closed.append("other"))
    await elsewhere.turn()
    with pytest.raises(UnknownSubscription):
        await here.cancel(made, by=OTHER)
    await here.cancel(made, by=MINE)
    told = list(closed)
    elsewhere.tell()
    await elsewhere.turn()

    assert told == ["here"]
    assert closed == ["here", "elsewhere"]
    with pytest.raises(UnknownSubscription):
        await here.cancel(made, by=MINE)


async def test_one_that_was_cancelled_before_its_socket_was_written_down_closes(
    database: Database,
) -> None:
    here, elsewhere = a_process(database), a_process(database)
    made = await here.create(MINE, {})
    closed: list[str] = []
    elsewhere.hold(made, lambda: closed.append("elsewhere"))
    await here.cancel(made, by=MINE)
    await elsewhere.turn()

    assert closed == ["elsewhere"]


async def test_a_notify_wakes_the_keeper_and_a_lost_one_is_made_up_for(database: Database) -> None:
    here, elsewhere = a_process(database), a_process(database)
    made = await here.create(MINE, {})
    closed: list[str] = []
    elsewhere.hold(made, lambda: closed.append("elsewhere"))
    await elsewhere.turn()
    elsewhere.tell()
    await asyncio.wait_for(elsewhere.wait_for_work(600), 60)
    await elsewhere.turn()
    await elsewhere.wait_for_work(0.01)
    await here.cancel(made, by=MINE)
    await elsewhere.keep()

    assert closed == ["elsewhere"]


async def test_a_key_has_so_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OF_A_KEY_MAX", 2)
    process = a_process(database)
    for _ in range(2):
        await process.create(MINE, {})
    with pytest.raises(Conflict):
        await process.create(MINE, {})

    await process.create(OTHER, {})
