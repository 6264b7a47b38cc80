"""What is ready at once begins a few at a time, each of them in its order."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from daemon.transport.pace import AT_ONCE, Pace

pytestmark = pytest.mark.anyio


async def test_few_begin_in_each_turn_of_the_loop_and_all_of_them_do() -> None:
    pace = Pace()
    begun: list[int] = []
    turns: list[int] = []

    async def work(number: int) -> None:
        await pace.turn()
        begun.append(number)

    async def look() -> None:
        while len(begun) < 5 * AT_ONCE:
            turns.append(len(begun))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(5 * AT_ONCE):
            tasks.create_task(work(number))
        tasks.create_task(look())

    assert sorted(begun) == list(range(5 * AT_ONCE))
    steps = [after - before for before, after in pairwise(turns)]
    assert max([turns[0], *steps]) <= AT_ONCE


async def test_who_comes_alone_never_waits() -> None:
    pace = Pace()
    for _ in range(3 * AT_ONCE):
        await pace.turn()
        await asyncio.sleep(0)
