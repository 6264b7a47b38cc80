"""Orders come whole, whatever the pieces in which the pipe gives them."""

from __future__ import annotations

import asyncio
import os

import pytest

from daemon.order_lines import OrderLines

pytestmark = pytest.mark.anyio


async def test_lines_that_came_with_the_first_are_not_lost() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\nthr")
    lines, found, ended = OrderLines(reading), list[bytes](), asyncio.Event()

    first = lines.first()
    lines.watch(found.append, ended.set)
    os.write(writing, b"ee\nfo")
    os.close(writing)
    await ended.wait()
    os.close(reading)

    assert first == b"one"
    assert found == [b"two", b"three"]


async def test_an_end_without_a_line_is_no_order() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"on")
    os.close(writing)

    assert OrderLines(reading).first() is None
    os.close(reading)
