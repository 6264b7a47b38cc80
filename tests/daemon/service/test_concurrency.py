"""A key may have few long reads under way; the rest waits a moment, and is then told so."""

from __future__ import annotations

import asyncio

import pytest

from daemon.domain.access import Principal
from daemon.domain.errors import RateLimited
from daemon.service.concurrency import WAITING_MAX, Places

pytestmark = pytest.mark.anyio


def holder(key_id: str = "key_a") -> Principal:
    return Principal(key_id, "reader", frozenset({"read"}), "enterprise")


async def run(places: Places, done: asyncio.Event, *, key_id: str = "key_a") -> str:
    try:
        async with places.place(holder(key_id)):
            await done.wait()
            return "done"
    except RateLimited as refused:
        return refused.error_code


async def test_who_finds_no_place_in_time_is_refused_and_others_have_theirs() -> None:
    places, done = Places(each=2, wait_s=0.05), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(run(places, done)) for _ in range(4)]
        other = tasks.create_task(run(places, done, key_id="key_b"))
        while sum(read.done() for read in reads) < 2:
            await asyncio.sleep(0.01)
        done.set()

    assert sorted(read.result() for read in reads) == ["done"] * 2 + ["too_many_at_once"] * 2
    assert other.result() == "done"
    assert places.refused == 2


async def test_a_place_that_becomes_free_goes_to_who_waits() -> None:
    places, done = Places(each=1, wait_s=60.0), asyncio.Event()
    done.set()
    results = await asyncio.gather(*(run(places, done) for _ in range(20)))

    assert results == ["done"] * 20
    assert places.users == 0


async def test_more_than_may_wait_are_refused_at_once() -> None:
    places, done = Places(each=1, wait_s=0.0), asyncio.Event()
    places.wait_s = 60.0
    async with asyncio.TaskGroup() as tasks:
        for _ in range(1 + WAITING_MAX):
            tasks.create_task(run(places, done))
        await asyncio.sleep(0)
        assert await run(places, done) == "too_many_at_once"
        done.set()


async def test_who_leaves_gives_the_place_back() -> None:
    places, done = Places(each=1, wait_s=60.0), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(run(places, done))
        waiting = tasks.create_task(run(places, done))
        await asyncio.sleep(0)
        first.cancel()
        waiting.cancel()
    done.set()

    assert await run(places, done) == "done"
    assert places.users == 0
