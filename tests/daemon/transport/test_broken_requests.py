"""What is no HTTP, and a handshake that opens no WebSocket, is answered with a problem too."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from daemons import DaemonProcess
from stream_clients import handshake

pytestmark = pytest.mark.anyio

Answer = tuple[int, dict[str, str], bytes]
GOOD = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Asked: slowly\r\n\r\n"
"""Not a plain probe: it takes the whole way."""


async def said_to(daemon: DaemonProcess, *sent: bytes) -> bytes:
    """All that is answered until the daemon closes."""
    host, port = daemon.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in sent:
            writer.write(part)
            await asyncio.sleep(0.05)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.transport.abort()


def answers_in(said: bytes) -> list[Answer]:
    found = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(first.split(" ")[1]), headers, rest[:length]))
        said = rest[length:]
    return found


def problem_in(answer: Answer) -> dict[str, Any]:
    """The problem of an answer that has all that every answer has."""
    status, headers, body = answer
    problem: dict[str, Any] = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"] == problem["request_id"]
    assert problem["status"] == status
    return problem


@pytest.mark.parametrize(
    "sent",
    [
        b"no HTTP at all\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nbroken header\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_with_an_id(daemon: DaemonProcess, sent: bytes) -> None:
    [answer] = answers_in(await said_to(daemon, sent))

    assert answer[0] == 400
    assert answer[1]["connection"] == "close"
    assert problem_in(answer)["code"] == "malformed"


@pytest.mark.parametrize("parts", [[GOOD + b"garbage\r\n\r\n"], [GOOD, b"garbage\r\n\r\n"]])
async def test_a_whole_request_before_garbage_is_answered(
    daemon: DaemonProcess, parts: list[bytes]
) -> None:
    first, *others = answers_in(await said_to(daemon, *parts))

    assert (first[0], json.loads(first[2])["status"]) == (200, "healthy")
    assert [status for status, *_ in others] in ([], [400])


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Sec-WebSocket-Version: 8"], 400),
        (["Content-Length: 5"], 400),
        (["X-Long: " + "a" * 20_000], 400),
    ],
)
async def test_a_handshake_with_too_much_is_a_problem(
    daemon: DaemonProcess, lines: list[str], status: int
) -> None:
    [answer] = answers_in(await said_to(daemon, handshake(daemon, "/ws", *lines)))

    assert answer[0] == status
    assert problem_in(answer)["code"] in ("bad_handshake", "malformed")


async def test_another_version_of_websockets_is_told_ours(daemon: DaemonProcess) -> None:
    sent = handshake(daemon, "/ws", "X-Request-ID: mine").replace(b"Version: 13", b"Version: 12")
    [answer] = answers_in(await said_to(daemon, sent))

    assert answer[0] == 426
    assert answer[1]["sec-websocket-version"] == "13"
    assert answer[1]["upgrade"] == "websocket"
    assert problem_in(answer)["request_id"] == "mine"


async def test_a_handshake_without_a_key_names_the_header(daemon: DaemonProcess) -> None:
    lines = handshake(daemon, "/ws").split(b"\r\n")
    sent = b"\r\n".join(line for line in lines if not line.lower().startswith(b"sec-websocket-key"))
    [answer] = answers_in(await said_to(daemon, sent))

    assert answer[0] == 400
    assert "Sec-WebSocket-Key" in problem_in(answer)["detail"]


async def test_a_socket_of_a_page_of_another_origin_is_refused_as_a_stream_is(
    daemon: DaemonProcess,
) -> None:
    [socket] = answers_in(await said_to(daemon, handshake(daemon, "/ws", "Origin: http://evil")))
    with daemon.http() as http:
        stream = http.get("/stream/events", headers={"Origin": "http://evil"})
    problem = problem_in(socket)

    assert socket[0] == stream.status_code == 403
    assert problem | {"request_id": ""} == stream.json() | {"request_id": ""}
