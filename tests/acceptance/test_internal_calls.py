"""Internal calls on a real daemon: a door of their own lets services in; the public port never."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess, start_daemon
from websockets.sync.client import unix_connect

pytestmark = pytest.mark.anyio
TOKENS = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210")
CALL = {"X-Internal-Call": "true", "X-Internal-Service": "billing"}
SERVICE = """
[[auth.internal.services]]
name = "billing"
scopes = ["read", "ingest"]
devices = ["pump-*"]
tier = "free"
"""


def start(dsn: str, folder: Path, settings: str) -> DaemonProcess:
    file = folder / "telemetry.toml"
    file.write_text(f"[auth.internal]\n{settings}\n{SERVICE}")
    return start_daemon(dsn, environment={"TELEMETRY_CONFIG": str(file)})


def inside(path: Path) -> httpx.Client:
    """A client on a unix socket."""
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url="http://inside", timeout=30)


def point(device: str) -> dict[str, Any]:
    return {
        "url": f"/api/v1/telemetry/devices/{device}/telemetry",
        "json": {"timestamp": time.time(), "metric_name": "t", "value": 1},
    }


async def test_a_service_on_the_socket_is_somebody_with_bounds(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    daemon = start(dsn, tmp_path, f'mode = "socket"\nsocket = "{path}"\nuids = [{os.getuid()}]')
    try:
        with inside(path) as service, daemon.http() as outside:
            who = service.get("/auth/whoami", headers=CALL).json()
            stored = service.post(**point("pump-1"), headers=CALL)
            beyond = service.post(**point("oven"), headers=CALL)
            forbidden = service.post("/api/v1/telemetry/metrics", json={}, headers=CALL)
            alone = service.get("/auth/whoami")
            with_key = service.get(
                "/auth/whoami", headers={"Authorization": f"Bearer {daemon.key}"}
            )
            both = service.get("/auth/whoami", headers=CALL | {"X-Api-Key": daemon.key})
            wrong = [
                service.get("/auth/whoami", headers=headers).status_code for headers in WRONG_CALLS
            ]
            limit = [service.get("/auth/whoami", headers=CALL).headers for _ in range(2)]
            public = httpx.get(daemon.url + "/auth/whoami", headers=CALL, timeout=30).status_code
            figures = outside.get("/metrics".replace("/metrics", daemon.url + "/metrics")).text
    finally:
        daemon.stop()

    assert (who["principal"], who["scopes"]) == ("internal:billing", ["ingest", "read"])
    assert stored.status_code == 200, stored.text
    assert [r.status_code for r in (beyond, forbidden, alone, with_key, both)] == [
        403, 403, 401, 200, 401,
    ]  # fmt: skip
    assert wrong == [401] * len(WRONG_CALLS)
    left = [int(headers["x-ratelimit-remaining"]) for headers in limit]
    assert left[1] == left[0] - 1
    assert public == 401
    assert 'telemetry_auth_internal_header_ignored_total{process="1"} 1.0' in figures
    taken = 'telemetry_auth_internal_calls_total{outcome="taken",process="1"}'
    assert (
        taken in figures
        or taken.replace('outcome="taken",process="1"', 'process="1",outcome="taken"') in figures
    )
    calls = [line for line in daemon.log if line["event"] == "internal_call"]
    assert {(line["service"], line["address"]) for line in calls} == {
        ("billing", f"uid:{os.getuid()}")
    }
    assert not path.exists()


WRONG_CALLS: list[list[tuple[str, str]]] = [
    [("X-Internal-Call", value), ("X-Internal-Service", "billing")]
    for value in ("TRUE", "1", "", "true,true", "true ;x", "yes")
] + [
    [("X-Internal-Call", "true"), ("X-Internal-Call", "true"), ("X-Internal-Service", "billing")],
    [("X-Internal-Call", "true")],
    [("X-Internal-Call", "true"), ("X-Internal-Service", "nobody")],
    [("X-Internal-Call", "true"), ("X-Internal-Service", "billing"), ("X-Internal-Service", "x")],
]


async def test_a_stream_inside_needs_a_key(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    daemon = start(dsn, tmp_path, f'mode = "socket"\nsocket = "{path}"\nuids = [{os.getuid()}]')
    try:
        key = {"Authorization": f"Bearer {daemon.key}"}
        with unix_connect(str(path), "ws://inside/ws", additional_headers=key) as stream:
            welcome = json.loads(stream.recv(timeout=30))
        with unix_connect(str(path), "ws://inside/ws", additional_headers=CALL) as stream:
            refused = json.loads(stream.recv(timeout=30))
    finally:
        daemon.stop()

    assert welcome["type"] == "welcome"
    assert refused["error"]["code"] == "AUTH_REQUIRED"


async def test_another_user_of_the_host_is_refused(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    daemon = start(dsn, tmp_path, f'mode = "socket"\nsocket = "{path}"\nuids = [{os.getuid() + 1}]')
    try:
        with inside(path) as service:
            key = {"Authorization": f"Bearer {daemon.key}"}
            answers = [
                service.get("/auth/whoami", headers=headers).status_code
                for headers in (CALL, key, {})
            ]
    finally:
        daemon.stop()

    assert answers == [401, 401, 401]


async def test_a_listener_asks_for_a_token_old_or_new(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n".join(TOKENS))
    file.chmod(0o600)
    daemon = start(dsn, tmp_path, f'mode = "listener"\nport = 0\ntoken_file = "{file}"')
    try:
        url = f"http://{daemon.wait_for('serving_inside')['at']}/auth/whoami"
        with httpx.Client(timeout=30) as service:
            known = [
                service.get(url, headers=CALL | {"X-Internal-Token": token}).status_code
                for token in TOKENS
            ]
            wrong = [
                service.get(url, headers=[*CALL.items(), *more]).status_code
                for more in (
                    [],
                    [("X-Internal-Token", TOKENS[0][:-1])],
                    [("X-Internal-Token", "")],
                    [("X-Internal-Token", TOKENS[0]), ("X-Internal-Token", TOKENS[0])],
                    [("X-Forwarded-For", "127.0.0.1")],
                )
            ]
            public = service.get(
                daemon.url + "/auth/whoami", headers=CALL | {"X-Internal-Token": TOKENS[0]}
            ).status_code
    finally:
        daemon.stop()

    assert known == [200, 200]
    assert wrong == [401] * 5
    assert public == 401
    assert not any(token in str(daemon.log) for token in TOKENS)


@pytest.mark.parametrize(
    "settings",
    ['mode = "listener"\nhost = "0.0.0.0"\nport = 0', 'mode = "listener"\nport = 0', 'mode = "on"'],
)
async def test_unsafe_settings_refuse_the_start(dsn: str, tmp_path: Path, settings: str) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text(f"[auth.internal]\n{settings}\n{SERVICE}")
    daemon = start_daemon(dsn, wait=False, environment={"TELEMETRY_CONFIG": str(file)})

    assert daemon.process.wait(60) == 78


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /auth/whoami HTTP/1.1\r\nHost: x\r\nX_Internal_Call: true\r\n\r\n",
        "GET /auth/whoami HTTP/1.1\r\nHost: x\r\nX-Internal-Call: true\r\n folded\r\n\r\n",
        "GET /auth/whoami HTTP/1.1\r\nHost: x\r\nA: b\r\n X-Internal-Call: true\r\n\r\n",
        "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"
        "\r\n\r\n0\r\n\r\nGET /auth/whoami HTTP/1.1\r\nHost: x\r\nX-Internal-Call: true\r\n\r\n",
        "GET /auth/whoami HTTP/1.1\r\nHost: x\r\nX-Internal-Call : true\r\n\r\n",
        "GET /auth/whoami HTTP/1.1\r\nHost: x\r\nX-Internal-Call:\x00true\r\n\r\n",
    ],
)
async def test_nothing_is_smuggled_past_the_public_port(
    daemon: DaemonProcess, request_text: str
) -> None:
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request_text.encode("latin-1"))
        answer = connection.recv(65536)
        # What else comes, comes soon.
        connection.settimeout(1)
        try:
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            pass

    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses
    assert set(statuses) <= {b"400", b"401", b"415", b"422"}
    assert b"internal:" not in answer
