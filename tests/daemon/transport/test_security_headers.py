"""Headers for browsers and caches: on every answer, whichever part of the daemon made it."""

from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess, started
from starlette.types import Receive, Scope, Send

from daemon.transport.security_headers import NothingStored, TransportSecurity

pytestmark = pytest.mark.anyio


def answers(daemon: DaemonProcess) -> list[httpx.Response]:
    """One of each part that answers requests, good and bad."""
    path = "/devices/headers/telemetry"
    point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    with daemon.http() as http:
        return [
            http.post(path, json=point),
            http.post(path, json=point),
            http.post(path, json={"metric_name": "m"}),
            http.post(path + "/batch", json={"data_points": [point]}),
            http.get("/devices/headers/metrics/m/latest"),
            http.get("/devices/headers/metrics/none/latest"),
            http.get("/metrics"),
            http.get("/metrics", headers={"Authorization": "Bearer none"}),
            http.get("/nothing"),
            http.request("DELETE", "/metrics"),
            http.get("/stream/nothing"),
            http.get(daemon.url + "/health"),
            http.get(daemon.url + "/metrics"),
            http.get(daemon.url + "/api/openapi.json"),
            http.options(daemon.url + "/health", headers={
                "Origin": "http://evil", "Access-Control-Request-Method": "GET"}),
            http.get("/export/csv", params={"after": ""}),
        ]  # fmt: skip


def test_every_answer_says_what_may_be_done_with_it(daemon: DaemonProcess) -> None:
    for answer in answers(daemon):
        said = answer.headers
        assert said.get_list("x-content-type-options") == ["nosniff"], answer.url
        assert said.get_list("referrer-policy") == ["no-referrer"], answer.url
        assert len(said.get_list("cache-control")) == 1, answer.url
        assert len(said.get_list("x-request-id")) == 1, answer.url
        assert "strict-transport-security" not in said
        assert "server" not in said


def test_nothing_but_newest_points_and_what_is_public_may_be_kept(daemon: DaemonProcess) -> None:
    found = answers(daemon)
    assert [a.status_code for a in found if a.url.path.endswith("/m/latest")] == [200]
    for answer in found:
        is_newest = answer.status_code == 200 and answer.url.path.endswith("/latest")
        expected = "private, max-age=60" if is_newest else "no-store"
        if answer.url.path == "/api/openapi.json":
            expected = "no-cache"

        assert answer.headers["cache-control"] == expected, answer.url
        if is_newest:
            # Not for another key, nor for a page of another origin.
            assert answer.headers["vary"] == "Authorization, X-Api-Key, Origin"


def test_what_is_no_http_is_answered_with_them_too(daemon: DaemonProcess) -> None:
    url = httpx.URL(daemon.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-content-type-options: nosniff" in answer


async def _fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def headers_of(app: Any, *, scheme: str) -> httpx.Headers:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://daemon") as client:
        return (await client.get("/")).headers


async def test_who_came_over_tls_is_told_to_come_back_so() -> None:
    app = TransportSecurity(_fine)

    secure, plain = await headers_of(app, scheme="https"), await headers_of(app, scheme="http")

    assert secure["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in plain


async def test_an_answer_that_says_nothing_of_caches_is_not_stored() -> None:
    assert (await headers_of(NothingStored(_fine), scheme="http"))["cache-control"] == "no-store"


@pytest.mark.parametrize(("trusted", "said", "is_told"), [
    ('["127.0.0.1/32"]', "https", True), ('["127.0.0.1/32"]', "http", False),
    ("[]", "https", False),
])  # fmt: skip
async def test_only_a_trusted_proxy_says_that_there_is_tls(
    dsn: str, trusted: str, said: str, is_told: bool
) -> None:
    daemon = await started(dsn, server__trusted_proxies=trusted)
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": said}

    async with httpx.AsyncClient(base_url=daemon.url, headers=headers) as http:
        for path in ("/health", "/api/docs", "/api/v1/telemetry/metrics"):
            answer = await http.get(path)
            assert ("strict-transport-security" in answer.headers) is is_told, path
