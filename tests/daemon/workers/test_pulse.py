"""Loops are seen from outside: whoever is not resumed for too long is named."""

from __future__ import annotations

import asyncio

import pytest

from daemon.clock import ManualClock
from daemon.workers.pulse import ALLOWED_S, Pulse, watched
from daemon.workers.repeat import repeat

pytestmark = pytest.mark.anyio


async def turning(turned: list[int]) -> None:
    while True:
        turned.append(1)
        await asyncio.sleep(0)


async def frozen() -> None:
    await asyncio.Event().wait()


async def test_a_loop_that_turns_is_not_stuck() -> None:
    clock, turned = ManualClock(0), list[int]()
    pulse = Pulse(clock)
    task = asyncio.get_running_loop().create_task(pulse.watch(turning(turned)))
    await asyncio.sleep(0)

    clock.advance_s(2 * ALLOWED_S)
    while len(turned) <= 2:
        await asyncio.sleep(0)

    assert pulse.stuck() == []
    task.cancel()


async def test_a_loop_that_waits_for_ever_is_named() -> None:
    clock = ManualClock(0)
    pulse = Pulse(clock)
    task = asyncio.get_running_loop().create_task(pulse.watch(frozen()))
    await asyncio.sleep(0)

    clock.advance_s(ALLOWED_S)
    before = pulse.stuck()
    clock.advance_s(1)

    assert before == []
    assert pulse.stuck() == ["test_pulse.frozen"]
    task.cancel()


async def test_a_repeated_call_is_named_by_what_it_is() -> None:
    clock = ManualClock(0)
    pulse = Pulse(clock)
    task = asyncio.get_running_loop().create_task(
        pulse.watch(repeat(frozen, every_s=1, name="count_things"))
    )
    await asyncio.sleep(0)
    clock.advance_s(2 * ALLOWED_S)

    assert pulse.stuck() == ["count_things"]
    task.cancel()


async def test_a_call_that_is_repeated_seldom_has_its_pause() -> None:
    async def nothing() -> None: ...

    clock = ManualClock(0)
    pulse = Pulse(clock)
    seldom = repeat(nothing, every_s=600, name="seldom")
    task = asyncio.get_running_loop().create_task(pulse.watch(seldom))
    await asyncio.sleep(0)

    clock.advance_s(600 + ALLOWED_S)
    before = pulse.stuck()
    clock.advance_s(1)

    assert before == []
    assert pulse.stuck() == ["seldom"]
    task.cancel()


async def test_a_watched_loop_can_be_cancelled_and_fails_as_it_would() -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    pulse, loop = Pulse(ManualClock(0)), asyncio.get_running_loop()
    cancelled = loop.create_task(pulse.watch(frozen()))
    await asyncio.sleep(0)
    cancelled.cancel()

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(ValueError, match="broken"):
        await loop.create_task(pulse.watch(failing()))
    assert pulse.stuck() == []


async def test_what_has_no_turns_is_judged_by_a_condition() -> None:
    pulse = Pulse(ManualClock(0))
    goes_on = True
    pulse.conditions["ingest"] = lambda: goes_on

    assert pulse.stuck() == []
    goes_on = False
    assert pulse.stuck() == ["ingest"]


async def test_a_loop_that_a_loop_begins_is_watched_with_it() -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watched(frozen(), name="inner"))

    clock = ManualClock(0)
    pulse = Pulse(clock)
    task = asyncio.get_running_loop().create_task(pulse.watch(outer()))
    await asyncio.sleep(0.01)

    clock.advance_s(2 * ALLOWED_S)

    assert pulse.stuck() == ["test_pulse.outer", "inner"]
    task.cancel()


async def test_who_is_watched_by_nobody_begins_loops_as_ever() -> None:
    turned = list[int]()
    task = asyncio.get_running_loop().create_task(watched(turning(turned)))
    await asyncio.sleep(0.01)

    assert turned
    task.cancel()
