"""Lines go out whole, soon, and never stop who writes them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator

import pytest

from daemon import lines
from daemon.lines import BYTES_MAX, FLUSH_AFTER_S, FLUSH_BYTES, WRITE_BYTES, Lines

pytestmark = pytest.mark.anyio


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reader and writer of a pipe that holds one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def everything(reader: int) -> bytes:
    found = b""
    try:
        while part := os.read(reader, 1 << 16):
            found += part
    except BlockingIOError:
        pass
    return found


async def test_a_line_is_written_a_moment_later(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    some = Lines(writer)
    some.add(b"one\n")
    some.add(b"two\n")
    at_once = everything(reader)
    await asyncio.sleep(2 * FLUSH_AFTER_S)

    assert at_once == b""
    assert everything(reader) == b"one\ntwo\n"


async def test_lines_of_a_source_need_no_second_timer(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    some = Lines(writer)
    some.expect(lambda: some.add(b"made late\n"))
    await asyncio.sleep(2 * FLUSH_AFTER_S)

    assert everything(reader) == b"made late\n"
    assert some._timer is None


async def test_a_stalled_reader_loses_lines_and_stops_nobody(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    some, line = Lines(writer), b"x" * 999 + b"\n"
    count = BYTES_MAX // 1000 + 500
    for _ in range(count):
        some.add(line)
    dropped = some.dropped
    found = part = everything(reader)
    while part:
        some.flush()
        part = everything(reader)
        found += part

    assert dropped > 0
    assert found == line * (count - dropped)
    some.add(b"again\n")
    some.flush()
    assert everything(reader) == b"again\n"


async def test_much_is_written_before_the_moment_is_over() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * FLUSH_BYTES)
    os.set_blocking(reader, False)
    some = Lines(writer)
    for _ in range(FLUSH_BYTES // 100 + 1):
        some.add(b"y" * 99 + b"\n")

    assert len(everything(reader)) >= FLUSH_BYTES
    os.close(reader)
    os.close(writer)


def test_no_piece_is_longer_than_a_pipe_takes_whole_nor_cuts_a_line() -> None:
    many = [bytes([65 + n % 26]) * (n % 700) + b"\n" for n in range(500)]
    pieces = lines._pieces(many)

    assert b"".join(pieces) == b"".join(many)
    assert max(map(len, pieces)) <= WRITE_BYTES
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_without_a_loop_it_is_written_at_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    Lines(writer).add(b"one\n")

    assert everything(reader) == b"one\n"


def test_a_reader_that_is_gone_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    some = Lines(writer)
    some.add(b"one\n")
    some.flush()
    os.close(writer)

    assert some.dropped == 0
