"""A TCP server that answers with prepared bytes, for tests of clients: the network at its worst."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Behaviour = bytes | Callable[[socket.socket], None]


def answer(
    status: str, body: bytes = b"{}", *headers: str, content_type: str = "application/json"
) -> bytes:
    """The bytes of one HTTP answer that closes its connection."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class RoughServer:
    """Where it listens, and the requests it has read so far (head and body, as bytes)."""

    url: str
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def rough_server(behaviours: Sequence[Behaviour]) -> Iterator[RoughServer]:
    """Serve one behaviour a connection, in order; the last one again and again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RoughServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(listener, behaviours, server))
        thread.start()
        try:
            yield server
        finally:
            # A close alone would leave the thread in accept().
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listener: socket.socket, behaviours: Sequence[Behaviour], server: RoughServer) -> None:
    count = 0
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        behaviour = behaviours[min(count, len(behaviours) - 1)]
        count += 1
        with connection:
            _talk(connection, behaviour, server)


def _talk(connection: socket.socket, behaviour: Behaviour, server: RoughServer) -> None:
    connection.settimeout(30)
    try:
        if callable(behaviour):
            behaviour(connection)
            return
        server.requests.append(_read_request(connection))
        connection.sendall(behaviour)
    except OSError:
        return


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        part = connection.recv(65_536)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body
