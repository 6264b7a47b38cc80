"""What ends a process, and what it does while it begins anew."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.app import _ignore_signals
from daemon.serving import Stop, _close_the_port, _until_served, new_loop
from daemon.transport.server import (
    admit_no_more,
    attach_filter,
    bind,
    has_queued,
    make_server,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ROUND_LOST_S = 0.06
QUEUED = 12
KEEPS_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
SO_DETACH_FILTER = 27
SYN_RECEIVED = "03"


@pytest.mark.anyio
async def test_who_is_to_end_while_it_begins_anew_ends() -> None:
    stop = Stop()

    stop.begin_anew()
    stop.end()
    stop.begin_anew()

    assert stop.event.is_set()
    assert not stop.begins_anew


@pytest.mark.anyio
async def test_a_reload_between_the_old_parts_and_the_new_kills_nobody() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        _ignore_signals()

        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_stands_in_the_queue_of_the_port_is_answered() -> None:
    """On the loop of the daemon, which accepts one connection in a round; each takes long."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        answers = runner.run(answers_of_queued(QUEUED))

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * QUEUED


async def answers_of_queued(queued: int) -> list[bytes]:
    """What clients hear that all connected before the server had a round, as the port closes."""
    listening = bind("127.0.0.1", 0)
    server = make_server(done, drain_timeout_s=60.0)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    await _until_served(server, serving)
    clients = [connected(listening) for _ in range(queued)]
    closing = asyncio.ensure_future(_close_the_port(server, listening))
    while not closing.done():
        await asyncio.sleep(0)
        time.sleep(ROUND_LOST_S)
    server.should_exit = True
    await serving
    return [answer_of(client) for client in clients]


def connected(listening: socket.socket) -> socket.socket:
    client = socket.create_connection(listening.getsockname(), timeout=60)
    client.sendall(REQUEST)
    return client


def answer_of(client: socket.socket) -> bytes:
    """Nothing when it was cut."""
    with client:
        try:
            return client.recv(4096)
        except ConnectionError:
            return b""


async def done(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def test_a_port_that_admits_no_more_keeps_who_is_there_and_hears_them() -> None:
    listening = bind("127.0.0.1", 0)
    with listening, connected(listening) as client:
        wait_until(lambda: has_queued(listening))
        admit_no_more(listening)
        assert has_queued(listening)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.recv(4096) == REQUEST
            client.sendall(REQUEST)
            assert accepted.recv(4096) == REQUEST
        assert not has_queued(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(listening.getsockname(), timeout=0.2)
        assert not has_queued(listening)


def test_who_is_half_connected_when_no_more_are_admitted_becomes_whole() -> None:
    """The client does not hear the first answer to its SYN; the kernel repeats it."""
    listening = bind("127.0.0.1", 0)
    listening.settimeout(60)
    with listening, socket.socket() as client:
        attach_filter(client, [KEEPS_NOTHING])
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        wait_until(lambda: is_half_connected(listening))
        admit_no_more(listening)
        client.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        accepted, _ = listening.accept()
        client.settimeout(60)
        with accepted:
            client.sendall(REQUEST)
            assert accepted.recv(4096) == REQUEST


def is_half_connected(listening: socket.socket) -> bool:
    """Whether the kernel has heard a SYN for it, and no answer to its own (man 5 proc, net/tcp)."""
    port = f":{listening.getsockname()[1]:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(port) and row[3] == SYN_RECEIVED for row in rows)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)
