"""Which pages may read the daemon's answers: S-14."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from daemons import API, DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer

from daemon.config import BadConfig, load_config
from daemon.transport.cors import EXPOSED_HEADERS, METHODS

pytestmark = pytest.mark.anyio
PAGE = "https://ops.example.com"
# Beginnings and ends of the right one, other ports and schemes, and what browsers say for files.
STRANGERS = (
    "https://evil.example", "null", "https://ops.example.com.evil.example",
    "https://evilops.example.com", "https://ops.example.com:8443", "http://ops.example.com",
    "https://OPS.example.com", "https://ops.example.com/", "https://ops.example.com@evil.example",
    "file://", "*", "", "https://ops.example.com, https://evil.example", "https://ops.example",
)  # fmt: skip
PATHS = ("/health", f"{API}/metrics", f"{API}/devices/d/telemetry", f"{API}/stream/telemetry",
         "/api/openapi.json", "/nothing")  # fmt: skip


@pytest.fixture(scope="module")
def open_daemon(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """One that lets pages of PAGE in."""
    process = start_daemon(
        asyncio.run(fresh_database(postgres)), http__cors_origins=json.dumps([PAGE])
    )
    yield process
    process.kill()


def preflight(
    daemon: DaemonProcess, path: str, *, origin: str, method: str = "POST"
) -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
    }
    return httpx.options(daemon.url + path, headers=asked)


@pytest.mark.parametrize("method", METHODS)
def test_a_named_origin_is_told_what_it_may_send(open_daemon: DaemonProcess, method: str) -> None:
    for path in PATHS:
        answer = preflight(open_daemon, path, origin=PAGE, method=method)

        said = answer.headers
        assert answer.status_code == 200, path
        assert said["access-control-allow-origin"] == PAGE
        assert method in said["access-control-allow-methods"].split(", ")
        headers = said["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "x-api-key", "content-type", "idempotency-key"} <= set(headers)
        assert {"if-match", "if-none-match", "x-request-id", "last-event-id"} <= set(headers)
        assert said["access-control-max-age"] == "600"
        assert "Origin" in said["vary"]
        assert said["x-request-id"]
        assert answer.content == b""


@pytest.mark.parametrize("origin", STRANGERS)
def test_any_other_origin_is_told_nothing(open_daemon: DaemonProcess, origin: str) -> None:
    for path in PATHS:
        answer = preflight(open_daemon, path, origin=origin)

        allowing = [name for name in answer.headers if name.startswith("access-control")]
        assert (answer.status_code, allowing) == (403, []), path
        assert answer.json()["code"] == "origin_not_allowed"
        assert answer.headers["content-type"] == "application/problem+json"


def ask_all(daemon: DaemonProcess, origin: str) -> list[httpx.Response]:
    """An answer of each part that answers requests."""
    point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    with daemon.http() as http:
        http.headers["Origin"] = origin
        return [
            http.post("/devices/d/telemetry", json=point),
            http.post("/devices/d/telemetry", json=point),
            http.post("/devices/d/telemetry", json={}),
            http.get("/devices/d/metrics/m/latest"),
            http.get("/devices/d/metrics/m/latest?lookback=0"),
            http.get("/metrics"),
            http.get("/metrics/none"),
            http.get("/nothing"),
            http.get("/stream/nothing"),
            http.get(daemon.url + "/health"),
            http.get(daemon.url + "/metrics"),
            http.get("/stats", headers={"Authorization": "Bearer none"}),
        ]


def test_whatever_answers_a_named_origin_may_read_it(open_daemon: DaemonProcess) -> None:
    for answer in ask_all(open_daemon, PAGE):
        said = answer.headers
        assert said.get_list("access-control-allow-origin") == [PAGE], answer.url
        assert said["access-control-allow-credentials"] == "true"
        assert said["access-control-expose-headers"].split(", ") == list(EXPOSED_HEADERS)
        assert "Origin" in said["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", PAGE + ".evil.example"])
def test_another_origin_may_read_nothing(open_daemon: DaemonProcess, origin: str) -> None:
    for answer in ask_all(open_daemon, origin):
        found = [name for name in answer.headers if name.startswith("access-control")]
        assert found == [], answer.url
        assert origin not in str(answer.headers)


def test_two_origins_in_one_request_are_none(open_daemon: DaemonProcess) -> None:
    headers = [("Origin", PAGE), ("Origin", "https://evil.example")]

    answer = httpx.get(open_daemon.url + "/health", headers=headers)

    assert "access-control-allow-origin" not in answer.headers


def test_what_must_be_readable_is_exposed() -> None:
    needed = {"ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID",
              "X-Next-Cursor", "X-RateLimit-Limit", "X-RateLimit-Remaining",
              "X-RateLimit-Reset"}  # fmt: skip

    assert needed <= set(EXPOSED_HEADERS)


@pytest.mark.parametrize("origin", [
    "*", "null", "https://*.example.com", "ops.example.com", "https://ops.example.com/x",
    "https://ops.example.com/",
])  # fmt: skip
def test_only_whole_origins_can_be_named(tmp_path: Path, origin: str) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text(f"[http]\ncors_origins = [{json.dumps(origin)}]\n")

    with pytest.raises(BadConfig, match=r"http\.cors_origins"):
        load_config(file)


async def test_another_list_of_origins_is_in_force_after_a_reload(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text("")
    daemon = start_daemon(dsn, environment={"TELEMETRY_CONFIG": str(file)})
    try:
        before = preflight(daemon, "/health", origin=PAGE)
        file.write_text(f'[http]\ncors_origins = ["{PAGE}"]\n')
        daemon.process.send_signal(signal.SIGHUP)
        told = daemon.wait_for("config_reloaded")
        after = preflight(daemon, "/health", origin=PAGE)
    finally:
        daemon.kill()

    assert told["changed"] == ["http.cors_origins"]
    assert (before.status_code, after.status_code) == (403, 200)
