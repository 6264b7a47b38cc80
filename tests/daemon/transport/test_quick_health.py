"""A plain probe is answered as the route would answer it, without a task."""

from __future__ import annotations

import http.client
import socket
import time
from urllib.parse import urlsplit

import pytest
from daemons import DaemonProcess

PLAIN: dict[str, str] = {}
LONG_WAY = {"X-Other": "1"}


def ask(
    daemon: DaemonProcess, headers: dict[str, str], *, path: str = "/health", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    url = urlsplit(daemon.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        for moving in ("x-request-id", "date"):
            assert told.pop(moving)
        return answer.status, told, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("encoding", ["identity", "gzip, zstd"])
def test_both_ways_say_the_same(daemon: DaemonProcess, encoding: str) -> None:
    plain = ask(daemon, PLAIN | {"Accept-Encoding": encoding})

    assert plain == ask(daemon, LONG_WAY | {"Accept-Encoding": encoding})
    assert plain[0] == 200


def test_what_asks_for_more_goes_the_long_way(daemon: DaemonProcess) -> None:
    allowed = ask(daemon, {"X-Request-ID": "mine"})[1]
    head = ask(daemon, PLAIN, method="HEAD")
    unknown = ask(daemon, PLAIN, path="/healthy")

    assert allowed == ask(daemon, PLAIN)[1]
    assert head[2] == b""
    assert unknown[0] == 404


def test_a_connection_goes_on_after_it(daemon: DaemonProcess) -> None:
    url = urlsplit(daemon.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
    for headers in (PLAIN, LONG_WAY, PLAIN, PLAIN):
        connection.request("GET", "/health", headers=headers)
        assert connection.getresponse().read().startswith(b'{"status":"healthy"')
    connection.close()


def test_probes_leave_no_line_and_no_count(daemon: DaemonProcess) -> None:
    ask(daemon, PLAIN)
    time.sleep(0.3)

    assert not [line for line in daemon.log if line.get("route") == "/health"]
    with daemon.http() as kept:
        assert 'route="/health"' not in kept.get(f"{daemon.url}/metrics").text


def test_a_thousand_at_once_are_answered_in_their_order(daemon: DaemonProcess) -> None:
    url = urlsplit(daemon.url)
    plain, long_way = "", "X-Request-ID: at-{}\r\n"
    request = "GET /health HTTP/1.1\r\nHost: here\r\n{}\r\n"
    asked = "".join(
        request.format(long_way.format(n) if n % 400 == 399 else plain) for n in range(1_000)
    )
    last = request.format("Connection: close\r\n")
    with socket.create_connection((str(url.hostname), url.port), timeout=60) as connection:
        # The first is answered by a task, so that the others wait in a row behind it.
        connection.sendall((request.format(long_way.format("first")) + asked + last).encode())
        answered = b"".join(iter(lambda: connection.recv(65_536), b""))

    answers = answered.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 1_002
    named = [n for n, answer in enumerate(answers) if b"x-request-id: at-" in answer]
    assert named == [0, 400, 800]
