"""Logins on running daemons: tokens on every door, and how soon an end is seen everywhere."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, start_daemon, started
from databases import fresh_database
from servers import PostgresServer
from stream_clients import a_socket, close_code, subscribed

from daemon.domain.times import parse_time

pytestmark = pytest.mark.anyio
SECRET = "a secret that all hosts of one database know"
PASSWORD = "correct horse battery staple"
SEEN_WITHIN_S = 6.0
CLOSED_WITHIN_S = 10.0
PARALLEL_S = 10.0


def point() -> dict[str, Any]:
    return {"metric_name": "m", "value": 1, "timestamp": time.time()}


def login(daemon: DaemonProcess, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{daemon.url}/auth/login", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def with_token(daemon: DaemonProcess, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=daemon.url + API, headers=headers, timeout=30)


async def test_an_access_token_opens_every_door_a_key_does(daemon: DaemonProcess) -> None:
    token = login(daemon, api_key=daemon.key)["access_token"]

    with with_token(daemon, token) as http:
        for _ in range(3):
            assert http.post("/devices/d/telemetry", json=point()).status_code == 200
            assert http.get("/devices/d/metrics/m/latest").status_code == 200
        batch = {"data_points": [point()]}
        assert http.post("/devices/d/telemetry/batch", json=batch).status_code == 200
        assert http.get("/devices").json()["count"] == 1
        with http.stream("GET", "/stream/telemetry") as events:
            assert events.status_code == 200
    async with a_socket(daemon, key=token) as socket:
        assert (await subscribed(socket, devices=["d"]))["type"] == "subscribed"


async def test_the_secret_is_made_on_the_first_start_for_its_user_only(
    daemon: DaemonProcess,
) -> None:
    file = daemon.home / "data" / "telemetryd" / "jwt_secret"

    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().strip()) == 44


@pytest.mark.parametrize(
    "settings",
    [
        {"auth__jwt_secret": "too short"},
        {"auth__internal__mode": "superuser"},
        {"auth__issuers": '[{"name": "x", "issuer": "i", "audience": "a", "algorithm": "none"}]'},
        {"auth__issuers": '[{"name": "x", "issuer": "i", "audience": "a", "algorithm": "RS256"}]'},
    ],
)
async def test_unsafe_settings_refuse_the_start(
    postgres: PostgresServer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    dsn = await fresh_database(postgres)
    daemon = start_daemon(dsn, home=tmp_path, wait=False, **settings)

    assert await asyncio.to_thread(daemon.process.wait, 90) == 78


async def test_a_file_that_others_may_read_refuses_the_start(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    file = tmp_path / "data" / "telemetryd" / "jwt_secret"
    file.parent.mkdir(parents=True)
    file.write_text("A" * 43 + "=")
    file.chmod(0o644)
    daemon = start_daemon(await fresh_database(postgres), home=tmp_path, wait=False)

    assert await asyncio.to_thread(daemon.process.wait, 90) == 78


async def test_what_ends_on_one_daemon_ends_on_all(dsn: str) -> None:
    first = await started(dsn, auth__jwt_secret=SECRET)
    second = await started(dsn, key=first.key, auth__jwt_secret=SECRET)
    with first.http() as admin:
        account = {"username": "ann", "password": PASSWORD, "scopes": ["read"]}
        assert admin.post("/accounts", json=account).status_code == 201
        by_name = await asyncio.to_thread(login, first, username="ann", password=PASSWORD)
        made = admin.post("/keys", json={"name": "k", "scopes": ["read"]}).json()
        by_key = await asyncio.to_thread(login, first, api_key=made["key"])

        async with (
            a_socket(second, key=by_name["access_token"]) as ann,
            a_socket(second, key=by_key["access_token"]) as key,
        ):
            for socket in (ann, key):
                await subscribed(socket, devices=["d"])
            for tokens in (by_name, by_key):
                assert status(second, tokens["access_token"]) == 200
            assert admin.patch("/accounts/ann", json={"disabled": True}).status_code == 200
            assert admin.delete(f"/keys/{made['key_id']}").status_code == 200
            ended_at_s = time.time()
            ended_s = time.monotonic()
            for tokens in (by_name, by_key):
                await until_ended(second, tokens["access_token"], ended_s=ended_s)
            codes = [(await close_code(socket))[0] for socket in (ann, key)]
    closed_s = closed_at(second, count=2)

    assert codes == [4001, 4001]
    assert max(closed_s) - ended_at_s < CLOSED_WITHIN_S


async def until_ended(daemon: DaemonProcess, token: str, *, ended_s: float) -> None:
    """Until it opens nothing; no request that is sent later than allowed does."""
    while True:
        began_s = time.monotonic()
        if await asyncio.to_thread(status, daemon, token) != 200:
            return
        assert began_s - ended_s < SEEN_WITHIN_S
        await asyncio.sleep(0.2)


def closed_at(daemon: DaemonProcess, *, count: int) -> list[float]:
    """When the daemon closed its streams; a busy client hears of it later."""
    deadline_s = time.monotonic() + 30
    while True:
        lines = [line for line in list(daemon.log) if line["event"] == "stream_closed"]
        if len(lines) >= count:
            return [parse_time(line["ts"]) / 1e6 for line in lines]
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def status(daemon: DaemonProcess, token: str) -> int:
    with with_token(daemon, token) as http:
        return http.get("/devices").status_code


async def test_a_hundred_refreshes_on_two_daemons_have_one_successor(dsn: str) -> None:
    first = await started(dsn, auth__jwt_secret=SECRET)
    second = await started(dsn, key=first.key, auth__jwt_secret=SECRET)
    token = (await asyncio.to_thread(login, first, api_key=first.key))["refresh_token"]

    for _ in range(5):
        began_s = time.monotonic()
        async with httpx.AsyncClient(timeout=60) as http:
            answers = await asyncio.gather(
                *(
                    http.post(f"{daemon.url}/auth/refresh", json={"refresh_token": token})
                    for daemon in (first, second)
                    for _ in range(50)
                )
            )
        if time.monotonic() - began_s < PARALLEL_S:
            break
        # Those that came later than that were no parallel ones.
        token = (await asyncio.to_thread(login, first, api_key=first.key))["refresh_token"]

    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 429, 503}
    assert len(good) >= 2
    assert len({one["refresh_token"] for one in good}) == 1


async def test_no_secret_of_a_login_is_logged(daemon: DaemonProcess) -> None:
    with daemon.http() as admin:
        account = {"username": "eve", "password": PASSWORD, "scopes": ["read"]}
        admin.post("/accounts", json=account)
    tokens = login(daemon, username="eve", password=PASSWORD)
    httpx.post(
        f"{daemon.url}/auth/login", json={"username": "eve", "password": PASSWORD + "!"}, timeout=30
    )
    httpx.post(
        f"{daemon.url}/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, timeout=30
    )
    httpx.get(
        f"{daemon.url}{API}/stream/telemetry?token={tokens['access_token'][:-1]}x", timeout=30
    )

    said = str(daemon.log)
    for secret in (PASSWORD, tokens["refresh_token"], tokens["access_token"].split(".")[2]):
        assert secret not in said
