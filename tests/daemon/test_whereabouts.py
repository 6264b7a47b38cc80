"""Where the tasks of a process are, told to who asks."""

from __future__ import annotations

import asyncio

import pytest

from daemon.clock import ManualClock
from daemon.whereabouts import whereabouts
from daemon.workers.pulse import Pulse

pytestmark = pytest.mark.anyio


async def waits(event: asyncio.Event) -> None:
    await event.wait()


async def begins(event: asyncio.Event) -> None:
    await waits(event)


async def test_tasks_are_named_from_the_outside_in_and_counted_by_place() -> None:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    tasks = [loop.create_task(begins(event)) for _ in range(3)]
    await asyncio.sleep(0)

    _, places = whereabouts(loop)

    [line] = [line for line in places.splitlines() if "begins" in line]
    assert line.startswith("3 x begins (test_whereabouts.py:")
    assert " > waits (test_whereabouts.py:" in line
    assert " > wait (locks.py:" in line
    event.set()
    await asyncio.gather(*tasks)


async def test_a_watched_loop_shows_what_it_runs() -> None:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    task = loop.create_task(Pulse(ManualClock(0)).watch(begins(event)))
    await asyncio.sleep(0)

    count, places = whereabouts(loop)

    assert count >= 2
    assert " > begins (test_whereabouts.py:" in places
    assert " > wait (locks.py:" in places
    event.set()
    await task
