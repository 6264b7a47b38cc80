"""After a full run no secret stands in the log, the process list, a dump, an error, a figure or an
address; and the scan that says so finds one that was planted."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from daemons import DaemonProcess, _environment, start_daemon
from receivers import http_sink
from secret_scan import ProcessList, found_in
from servers import PostgresServer, wheel_bindir
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

pytestmark = pytest.mark.anyio
API = "/api/v1/telemetry"
SHOWN_ONCE = ("/keys", "/auth/login", "/auth/refresh", "/tickets", "/channels")
"""Answers of these show a secret to who asked for it, when they are 2xx."""


http_get = partial(httpx.get, timeout=60)
http_post = partial(httpx.post, timeout=60)


def secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(24).replace("-", "x").replace("_", "y")


@dataclass
class Run:
    """A daemon with secrets of all kinds, and everything that it said."""

    daemon: DaemonProcess
    secrets: dict[str, str]
    said: list[bytes] = field(default_factory=list)

    def note(self, answer: httpx.Response) -> httpx.Response:
        """Keep what may hold no secret: headers, errors, and bodies that have no reason to."""
        self.said.append(repr(sorted(answer.headers.items())).encode())
        shows_one = any(answer.url.path.removeprefix(API).startswith(p) for p in SHOWN_ONCE)
        if answer.is_error or not shows_one or answer.request.method == "GET":
            self.said.append(answer.content)
        return answer


def settings(dsn: str) -> tuple[dict[str, str], dict[str, str]]:
    """Secrets of the configuration, and the settings that hold them."""
    known = {
        "database password": secret(),
        "jwt secret": secret(),
        "former jwt secret": secret(),
        "nats password": secret(),
        "nats token": secret(),
    }
    box = base64.b64encode(secrets.token_bytes(32)).decode()
    given = {
        "database__url": dsn.replace("tester@", f"tester:{known['database password']}@"),
        "auth__jwt_secret": known["jwt secret"],
        "auth__jwt_secrets_former": json.dumps([known["former jwt secret"]]),
        "auth__secret_key": box,
        "nats__url": "nats://127.0.0.1:9",
        "nats__user": "telemetry",
        "nats__password": known["nats password"],
        "nats__token": known["nats token"],
        "notifications__allow_hosts": '["127.0.0.1"]',
        "compaction__age": "1s",
        "log__level": "debug",
    }
    return known | {"secret key": box}, given


@contextlib.contextmanager
def running(dsn: str, *, sabotage: str = "") -> Iterator[Run]:
    known, given = settings(dsn)
    daemon = start_daemon(
        given.pop("database__url"),
        sabotage=sabotage,
        environment={f"TELEMETRY_{name.upper()}": value for name, value in given.items()},
    )
    try:
        yield Run(daemon, known | {"admin key": daemon.key})
    finally:
        daemon.kill()


def use_everything(run: Run) -> None:
    """Every way a secret goes in or out of a daemon, the right and the wrong ones."""
    with run.daemon.http() as admin:
        admin.event_hooks["response"] = [lambda answer: (answer.read(), run.note(answer))[1]]
        _use_keys(run, admin)
        _use_logins(run, admin)
        _use_channels(run, admin)
        _use_streams(run, admin)
        _do_wrong(run, admin)
        admin.get(run.daemon.url + "/metrics")
        admin.get(run.daemon.url + "/health/detailed")


def _use_keys(run: Run, admin: httpx.Client) -> None:
    headers = {"Idempotency-Key": "make-one"}
    made = admin.post("/keys", json={"name": "one", "scopes": ["read"]}, headers=headers).json()
    again = admin.post("/keys", json={"name": "two", "scopes": ["read"]}).json()
    rotated = admin.post(f"/keys/{again['key_id']}/rotate", json={"overlap": 60}).json()
    run.secrets |= {"key": made["key"], "former key": again["key"], "rotated key": rotated["key"]}
    for key in (made["key"], again["key"], rotated["key"]):
        run.note(http_get(run.daemon.url + "/auth/whoami", headers={"X-Api-Key": key}))
    admin.delete(f"/keys/{made['key_id']}")
    run.note(http_get(run.daemon.url + "/auth/whoami", headers={"X-Api-Key": made["key"]}))


def _use_logins(run: Run, admin: httpx.Client) -> None:
    password, wrong = secret(), secret()
    run.secrets |= {"password": password, "wrong password": wrong}
    url = run.daemon.url
    admin.post("/accounts", json={"username": "ann", "password": password, "scopes": ["read"]})
    for body in ({"username": "ann", "password": password}, {"api_key": run.daemon.key}):
        tokens = run.note(http_post(url + "/auth/login", json=body)).json()
        more = run.note(
            http_post(url + "/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        ).json()
        for place, pair in (("", tokens), ("next ", more)):
            kind = next(iter(body))
            run.secrets[f"{place}access token of {kind}"] = pair["access_token"].split(".")[2]
            run.secrets[f"{place}refresh token of {kind}"] = pair["refresh_token"]
        bearer = {"Authorization": f"Bearer {more['access_token']}"}
        run.note(http_get(url + "/auth/whoami", headers=bearer))
        run.note(http_post(url + "/auth/logout", json={"refresh_token": more["refresh_token"]}))
    for said in ({"username": "ann", "password": wrong}, {"username": wrong, "password": wrong}):
        run.note(http_post(url + "/auth/login", json=said))
    run.note(http_post(url + "/auth/login", content=f'{{"password": "{wrong}"'))
    run.note(http_post(url + "/auth/login", json={"username": "ann", "password": [wrong]}))


def _use_channels(run: Run, admin: httpx.Client) -> None:
    with http_sink() as sink:
        sink.answer = lambda request: (500, {}, b"no")
        slack = secret()
        run.secrets["slack address"] = slack
        hook = {"name": "hook", "kind": "webhook", "url": sink.url}
        made = admin.post("/channels", json=hook).json()
        run.secrets["webhook secret"] = made["secret"].removeprefix("whsec_")
        admin.post(
            "/channels", json={"name": "s", "kind": "slack", "url": f"{sink.url}/services/{slack}"}
        )
        admin.post("/channels", json={"name": "bad", "kind": "webhook", "secret": slack})
        for name in ("hook", "s"):
            admin.post(f"/channels/{name}/test")
    admin.get("/channels")
    admin.get("/channels/s")
    admin.get("/notifications")


def _use_streams(run: Run, admin: httpx.Client) -> None:
    subscription = admin.post("/subscribe", json={}).json()["subscription_id"]
    ticket = admin.post("/tickets", json={}).json()["ticket"]
    lost, token = admin.post("/tickets", json={}).json()["ticket"], secret()
    run.secrets |= {"ticket": ticket, "wrong ticket": lost, "wrong token": token}
    base = run.daemon.url.replace("http", "ws", 1)
    for address in (
        f"/ws?ticket={ticket}",
        f"/ws?ticket={ticket}",
        f"/ws?token={run.daemon.key}",
        f"/ws/telemetry/{subscription}?token={token}",
        f"{API}/stream/telemetry?token={token}",
    ):
        with contextlib.suppress(WebSocketException, OSError), connect(base + address) as socket:
            run.said.append(str(socket.recv(timeout=2)).encode())
    for query in (f"ticket={lost}x", f"token={token}"):
        run.note(http_get(f"{run.daemon.url}{API}/stream/telemetry?{query}", timeout=60))


def _do_wrong(run: Run, admin: httpx.Client) -> None:
    """Secrets where they do not belong: in paths, queries, headers and fields of other names."""
    key = run.secrets["rotated key"]
    admin.get(f"/keys/{key}")
    admin.delete(f"/keys/{key}")
    admin.get(f"/nothing/{key}")
    admin.get("/devices", params={"token": key, "limit": "many", "api_key": key})
    admin.get("/metrics", headers={"X-Request-ID": key, "Origin": f"https://{key}.example"})
    admin.post("/auth/login", headers={"Authorization": f"Bearer {key}x"})
    run.note(http_get(run.daemon.url + "/auth/whoami", headers={"X-Api-Key": key[:-1] + "0"}))
    run.note(http_get(run.daemon.url + "/auth/whoami", headers={"X-Api-Key": key, "Cookie": key}))


def places(run: Run, processes: ProcessList, server: PostgresServer, dsn: str) -> dict[str, bytes]:
    """Everything that others than the daemon's own user may come to see."""
    time.sleep(0.3)
    dumped = subprocess.run([wheel_bindir() / "pg_dump", dsn], capture_output=True, check=True)
    shown = subprocess.run(
        [Path(sys.executable).parent / "telemetryd", "config", "show"],
        env=_environment(run.daemon.home) | _given_to(run.daemon),
        capture_output=True, check=True,
    )  # fmt: skip
    return {
        "log": json.dumps(run.daemon.log).encode(),
        "dump": dumped.stdout,
        "log of the database": server.log.encode(),
        "answers": b"\n".join(run.said),
        "config show": shown.stdout + shown.stderr,
        **processes.places(),
    }


def _given_to(daemon: DaemonProcess) -> dict[str, str]:
    """The settings in its environment, which only its own user reads."""
    environment = Path(f"/proc/{daemon.process.pid}/environ").read_text()
    pairs = (pair.partition("=") for pair in environment.split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("TELEMETRY_")}


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def back_up(run: Run, file: Path) -> None:
    subprocess.run(
        [Path(sys.executable).parent / "telemetryd", "db", "backup", str(file)],
        env=_environment(run.daemon.home) | _given_to(run.daemon), capture_output=True, check=True,
    )  # fmt: skip


async def test_no_secret_gets_out(dsn: str, postgres: PostgresServer, tmp_path: Path) -> None:
    with running(dsn) as run, ProcessList(run.daemon.process.pid) as processes:
        use_everything(run)
        for number in range(10):
            back_up(run, tmp_path / f"backup{number}")
            # What runs for a moment only is not seen by every look.
            if b"pg_dump" in processes.places()["process list"]:
                break
        seen = places(run, processes, postgres, dsn)

    assert found_in(seen, run.secrets) == []
    assert len(run.secrets) > 20
    assert all(seen.values())
    assert b"pg_dump" in seen["process list"]


async def test_the_scan_finds_what_was_planted(
    dsn: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    with running(dsn, sabotage="no_redaction") as run:
        planted = run.secrets = {"key": run.daemon.key}
        with ProcessList(os.getpid()) as processes, run.daemon.http() as admin:
            run.note(admin.get(f"/nothing/{run.daemon.key}"))
            run.said.append(run.daemon.key.encode())
            connection = await asyncpg.connect(dsn)
            await connection.execute(
                "update telemetry.api_key set name = $1", planted["key"].encode().hex()
            )
            await connection.close()
            child = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(100)", planted["key"]],
                env={"SECRET": planted["key"]},
            )
            _until(lambda: len(found_in(processes.places(), planted)) == 2)
            child.kill()
            child.wait()
            _until(lambda: planted["key"] in json.dumps(run.daemon.log))
            seen = places(run, processes, postgres, dsn)
        found = found_in(seen, planted)

    assert {place.partition(":")[0] for place in found} == {
        "log", "dump", "answers", "process list", "environment of children",
    }  # fmt: skip
