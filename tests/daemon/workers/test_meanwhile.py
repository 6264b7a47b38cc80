"""Something is called while something else goes on, and not after it."""

from __future__ import annotations

import asyncio

import pytest

from daemon.workers.meanwhile import meanwhile

pytestmark = pytest.mark.anyio


async def test_it_is_called_at_once_and_again_until_the_end() -> None:
    calls = list[int]()

    with meanwhile(lambda: calls.append(1), every_s=0.001):
        at_once = len(calls)
        while len(calls) < 4:
            await asyncio.sleep(0.001)
    at_the_end = len(calls)
    await asyncio.sleep(0.02)

    assert at_once == 1
    assert len(calls) == at_the_end


async def test_an_error_ends_it_too() -> None:
    calls = list[int]()

    with pytest.raises(ValueError, match="broken"), meanwhile(lambda: calls.append(1), every_s=0):
        raise ValueError("broken")
    await asyncio.sleep(0.01)

    assert calls == [1]
