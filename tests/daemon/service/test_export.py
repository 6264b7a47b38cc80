"""Exports are bounded in number, and give their place back when they are left."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from control import Control
from history_builder import READER

from daemon.domain.errors import RateLimited
from daemon.service.changes import ChangesFilter

pytestmark = pytest.mark.anyio


async def test_exports_of_one_key_are_bounded(control: Control) -> None:
    now_us = control.clock.now_us()
    await control.send([("bus-1", "speed", now_us - 1_000_000, 1.0)])

    def export() -> AsyncIterator[bytes]:
        return control.services.reads.exports.of_range(
            READER, ChangesFilter(), start_us=now_us - 60_000_000, end_us=now_us
        )

    places = control.services.reads.exports.places
    places.wait_s = 0.01
    running = [export() for _ in range(places.each)]
    firsts = [await anext(one) for one in running]
    with pytest.raises(RateLimited):
        await anext(export())
    rest = [chunk async for chunk in running[0]]

    assert len(set(firsts)) == 1
    assert rest == []
    assert await anext(export()) == firsts[0]
