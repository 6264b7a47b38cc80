"""Lines for standard error, many in one write: what each request may cost, not what it says.

A reader that stalls never stops the daemon: the lines of requests are then dropped and counted.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

FLUSH_BYTES = 32 * 1024
FLUSH_AFTER_S = 0.1
"""A line is written after so long at the latest; who is killed loses no more."""
BYTES_MAX = 4 * 2**20
"""Lines that wait for a stalled reader; over it new ones are dropped."""
WRITE_BYTES = select.PIPE_BUF
"""What a pipe takes in one piece: processes that share it never cut each other's lines."""


class Lines:
    """Collects lines and writes them to a file descriptor; without one they go nowhere."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor: int | None = None
        self._pipe: _Pipe | None = None
        self.dropped = 0
        self.prefix = b""
        """What every line begins with."""
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._write_at_bytes = FLUSH_BYTES
        self._timer: asyncio.TimerHandle | None = None
        self._sources: list[Callable[[], None]] = []
        if descriptor is not None:
            self.attach(descriptor)

    def attach(self, descriptor: int) -> None:
        """Write there from now on."""
        if self._pipe is not None:
            os.close(self._pipe.descriptor)
        self._descriptor, self._pipe = descriptor, _pipe_of(descriptor)

    def add(self, *lines: bytes) -> None:
        """Whole lines with their ends, of at most WRITE_BYTES each; none of them when too much
        waits."""
        if self._bytes > BYTES_MAX:
            self.dropped += len(lines)
            return
        prefix = self.prefix
        self._waiting += [prefix + line for line in lines] if prefix else lines
        self._bytes += sum(map(len, lines))
        if self._timer is None:
            self._later()
        elif self._bytes >= self._write_at_bytes:
            self._write()

    def expect(self, source: Callable[[], None]) -> None:
        """`source` adds lines when it is called, which is before the next write: making many at a
        time takes half as long as making each where it is due."""
        self._sources.append(source)
        if self._timer is None:
            self._later()

    def flush(self) -> None:
        """Write what waits, as far as the reader takes it."""
        # First, while there is a timer: or what is added would set another.
        self._collect()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()
        if self._waiting or self._sources:
            self._later()

    def _collect(self) -> None:
        sources, self._sources = self._sources, []
        for source in sources:
            source()

    def _later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._collect()
            self._write()
            return
        self._timer = loop.call_later(FLUSH_AFTER_S, self.flush)

    def _write(self) -> None:
        left: list[bytes] = []
        if self._descriptor is not None:
            pipe = self._pipe
            if pipe is not None and self._bytes <= pipe.bytes_max and pipe.is_empty():
                left = [_written(pipe.descriptor, b"".join(self._waiting))]
            else:
                left = _left_by(self._descriptor, _pieces(self._waiting))
        self._waiting = left = list(filter(None, left))
        self._bytes = sum(map(len, left))
        self._write_at_bytes = self._bytes + FLUSH_BYTES


@dataclass(frozen=True, slots=True)
class _Pipe:
    """The pipe behind a descriptor, opened anew so that a write to it never waits, whatever the
    other holders of the descriptor want. What fits an empty pipe goes there in one piece."""

    descriptor: int
    bytes_max: int

    def is_empty(self) -> bool:
        """Whether the reader has taken everything (man 2 ioctl_pipe, FIONREAD)."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4)))
        return bool(waiting == 0)


def _pipe_of(descriptor: int) -> _Pipe | None:
    """None where there is no pipe, or it is another user's: then pieces do."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
            return _Pipe(own, fcntl.fcntl(own, fcntl.F_GETPIPE_SZ))
    return None


def _pieces(lines: list[bytes]) -> list[bytes]:
    """The lines joined to pieces of at most WRITE_BYTES; none is cut."""
    pieces: list[bytes] = []
    first = size = 0
    for number, line in enumerate(lines):
        if size + len(line) > WRITE_BYTES and size:
            pieces.append(b"".join(lines[first:number]))
            first, size = number, 0
        size += len(line)
    if size:
        pieces.append(b"".join(lines[first:]))
    return pieces


def _left_by(descriptor: int, pieces: list[bytes]) -> list[bytes]:
    """Write the pieces while the reader takes them; what is left."""
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    for number, piece in enumerate(pieces):
        # A pipe that is ready takes one piece without waiting (man 7 pipe).
        if not ready.poll(0):
            return pieces[number:]
        rest = _written(descriptor, piece)
        if rest:
            return [rest, *pieces[number + 1 :]]
    return []


def _written(descriptor: int, piece: bytes) -> bytes:
    """What could not be written; a reader that is gone counts as one that takes everything."""
    try:
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    except BlockingIOError:
        return piece
    except OSError:
        return b""
    return b""


STDERR = Lines()
"""The lines of this process; `log.set_up` says where they go."""
