"""Answers are compressed where the client takes it and it is worth it; nothing else is touched."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import zstandard
from daemons import DaemonProcess
from starlette.types import Receive, Scope, Send

from daemon.transport.compression import BYTES_MIN, Compression, coding_of

pytestmark = pytest.mark.anyio
TEXT = b'{"words": "' + b"telemetry " * 500 + b'"}'
JSON = [(b"content-type", b"application/json"), (b"content-length", str(len(TEXT)).encode())]
Headers = list[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@pytest.mark.parametrize(("accepted", "expected"), [
    ("gzip", "gzip"), ("zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd"), ("GZIP", "gzip"),
    ("gzip;q=1.0, zstd;q=0.5", "gzip"), ("zstd;q=0, gzip", "gzip"), ("zstd;q=0", None),
    ("*", "zstd"), ("*;q=0", None), ("zstd;q=0, *", "gzip"), ("x-gzip", "gzip"), ("br", None),
    ("identity", None), ("", None), ("gzip;q=x", None), ("gzip;q=5", None), ("gzip;q=nan", None),
    (";;;,,=", None),
])  # fmt: skip
def test_the_client_chooses(accepted: str, expected: str | None) -> None:
    assert coding_of([(b"accept-encoding", accepted.encode())]) == expected


def test_who_says_nothing_gets_it_plain() -> None:
    assert coding_of([(b"accept", b"*/*")]) is None


def answering(*bodies: bytes, headers: Headers | None = None, status: int = 200) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        said = JSON if headers is None else headers
        await send({"type": "http.response.start", "status": status, "headers": list(said)})
        for at, body in enumerate(bodies):
            is_more = at < len(bodies) - 1
            await send({"type": "http.response.body", "body": body, "more_body": is_more})

    return app


async def sent(app: App, *, accept: str = "gzip") -> list[dict[str, Any]]:
    """The messages that come out."""
    messages: list[dict[str, Any]] = []

    async def receive() -> Any:
        raise AssertionError("nobody reads here")

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "headers": [(b"accept-encoding", accept.encode())]}
    await Compression(app)(scope, receive, send)
    return messages


async def body_of(app: App, *, accept: str = "gzip") -> tuple[dict[bytes, bytes], bytes]:
    start, *parts = await sent(app, accept=accept)
    return dict(start["headers"]), b"".join(part["body"] for part in parts)


@pytest.mark.parametrize("size", [BYTES_MIN, 200_000])
async def test_what_comes_out_is_what_went_in(size: int) -> None:
    text = (TEXT * 100)[:size]
    app = answering(text, headers=[(b"content-type", b"text/csv")])

    zipped = await body_of(app, accept="gzip")
    zstd = await body_of(app, accept="zstd")

    assert gzip.decompress(zipped[1]) == text
    assert zstandard.ZstdDecompressor().decompress(zstd[1], size) == text
    assert (zipped[0][b"content-encoding"], zstd[0][b"content-encoding"]) == (b"gzip", b"zstd")
    for headers, body in (zipped, zstd):
        assert headers[b"content-length"] == str(len(body)).encode()
        assert headers[b"vary"] == b"Accept-Encoding"


@pytest.mark.parametrize("headers", [
    [(b"content-type", b"text/event-stream; charset=utf-8")],
    [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")],
    [(b"content-type", b"application/octet-stream")],
    [(b"content-type", b"image/png")],
    [(b"content-type", b"application/json"), (b"etag", b'"exact"')],
    [],
])  # fmt: skip
async def test_what_must_not_be_changed_is_not(headers: Headers) -> None:
    messages = await sent(answering(TEXT, TEXT, headers=headers))

    assert messages[0]["headers"] == headers
    assert [m["body"] for m in messages[1:]] == [TEXT, TEXT]


@pytest.mark.parametrize("bodies", [(b"x" * (BYTES_MIN - 1),), (b"",), (b"x", b""), (b"x", b"y")])
async def test_small_ones_are_left_as_they_are(bodies: tuple[bytes, ...]) -> None:
    headers, body = await body_of(answering(*bodies, headers=[(b"content-type", b"text/csv")]))

    assert body == b"".join(bodies)
    assert b"content-encoding" not in headers


async def test_caches_hear_that_it_depends_even_when_it_is_plain() -> None:
    headers, body = await body_of(answering(TEXT), accept="identity")

    assert body == TEXT
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-length"] == str(len(TEXT)).encode()


async def test_an_answer_without_a_body_keeps_its_tag() -> None:
    messages = await sent(answering(b"", headers=[(b"etag", b'W/"a"')], status=304))

    assert messages[0]["headers"] == [(b"etag", b'W/"a"')]


@pytest.mark.parametrize("accept", ["gzip", "zstd"])
async def test_each_part_of_a_stream_can_be_read_when_it_has_come(accept: str) -> None:
    parts = [f"row {at}\n".encode() * 500 for at in range(5)]
    app = answering(*parts, b"", headers=[(b"content-type", b"text/csv; charset=utf-8")])

    start, *messages = await sent(app, accept=accept)

    reading = (
        zlib.decompressobj(31) if accept == "gzip" else zstandard.ZstdDecompressor().decompressobj()
    )
    assert b"content-length" not in dict(start["headers"])
    for part, message in zip(parts, messages, strict=False):
        assert reading.decompress(message["body"]) == part
    reading.decompress(messages[-1]["body"])
    assert reading.eof
    assert [m["more_body"] for m in messages] == [True] * 5 + [False]


# -- with the daemon -----------------------------------------------------------------------------


def test_the_answers_of_the_daemon_are_compressed_and_right(daemon: DaemonProcess) -> None:
    start = int(time.time()) - 86_400
    end = start + 5_000
    series = [{"device_id": "zip", "metric_name": "m", "values": list(range(5_000)),
               "timestamps": list(range(start, end))}]  # fmt: skip
    with daemon.http() as http:
        http.post("/columns", json={"series": series}).raise_for_status()
        params: dict[str, Any] = {"device_ids": "zip", "metric_names": "m", "start_time": start,
                                  "end_time": end}  # fmt: skip
        query = {"metrics": ["m"], "devices": ["zip"], "start_time": start, "end_time": end,
                 "limit": 5_000}  # fmt: skip
        found = {}
        for accept in ("identity", "gzip", "zstd"):
            http.headers["Accept-Encoding"] = accept
            page = http.post("/query", json=query)
            csv = http.get("/export/csv", params=params)
            small = http.get("/devices/zip/metrics/m/latest", params={"lookback": "0"})
            expected = None if accept == "identity" else accept
            assert page.headers.get("content-encoding") == expected
            assert csv.headers.get("content-encoding") == expected
            assert "content-encoding" not in small.headers
            assert page.headers["vary"] == csv.headers["vary"] == "Accept-Encoding"
            found[accept] = (page.json()["data_points"], csv.text)

    assert len(found["identity"][0]) == 5_000
    assert len(found["identity"][1].splitlines()) == 5_001
    assert found["identity"] == found["gzip"] == found["zstd"]


def test_many_errors_of_a_batch_are_compressed_too(daemon: DaemonProcess) -> None:
    points = [{"timestamp": "2026-11-21T10:00:00Z", "metric_name": "m", "value": None}] * 500
    with daemon.http() as http:
        answer = http.post("/devices/zip/telemetry/batch", json={"data_points": points})

    assert answer.headers["content-encoding"] == "zstd"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(answer.json()["errors"]) == 500


async def test_events_are_never_compressed(daemon: DaemonProcess) -> None:
    headers = {"Authorization": f"Bearer {daemon.key}", "Accept": "text/event-stream",
               "Accept-Encoding": "gzip, zstd"}  # fmt: skip
    url = daemon.url + "/api/v1/telemetry/stream/telemetry"
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as client,
        client.stream("GET", url) as answer,
        asyncio.timeout(60),
    ):
        first = await anext(answer.aiter_lines())

    assert "content-encoding" not in answer.headers
    assert first.startswith(("event:", "retry:", "id:", ":"))
