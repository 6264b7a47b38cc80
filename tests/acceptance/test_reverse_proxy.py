"""docs/how-to/reverse-proxy.md: its configurations in a real nginx and a real Caddy, with TLS."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import self_signed
from daemons import API, DaemonProcess, start_daemon
from databases import fresh_database
from documents import MISSING, blocks
from receivers import free_port
from servers import PostgresServer
from tails import is_listening, tailing
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from daemon.config import Config

pytestmark = pytest.mark.anyio
DOC = "docs/how-to/reverse-proxy.md"
PATH = f"{os.environ['PATH']}:/usr/sbin"
HOST = "127.0.0.2"
"""To clients another host than their own, whose certificates count."""
PROGRAMS = {"nginx": shutil.which("nginx", path=PATH), "caddy": shutil.which("caddy", path=PATH)}
ONLY_THIS = '["127.0.0.1/32"]'
"""Clients at CLIENT are on another host then, as far as the daemon can see."""
CLIENT = "127.0.0.3"


@pytest.fixture(scope="module")
def daemon(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A daemon that trusts the proxies of this test."""
    dsn = asyncio.run(fresh_database(postgres))
    process = start_daemon(dsn, server__trusted_proxies=ONLY_THIS)
    yield process
    process.stop()


@dataclass(frozen=True)
class Proxy:
    """One that runs; `http` speaks to the daemon through it, from an address of its own."""

    url: str
    certificate: Path
    daemon: DaemonProcess

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.daemon.key}"}

    def http(self) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.tls, local_address=CLIENT)
        base = self.url + API
        return httpx.Client(base_url=base, headers=self.headers, transport=transport, timeout=60)


def nginx_files(folder: Path, site: str) -> list[str]:
    """The page's file as one that `http` of a whole configuration includes."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/errors;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return ["-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]


def caddy_files(folder: Path, site: str) -> list[str]:
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site)
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def replaced(kind: str, *, port: int, daemon: DaemonProcess, folder: Path) -> str:
    """The page's configuration with addresses and certificates of this test."""
    [text] = blocks(DOC, kind)
    key, certificate = folder / "both.pem", folder / "certificate.pem"
    address = daemon.url.removeprefix("http://")
    changes = {
        "127.0.0.1:8218": address,
        "listen 443 ssl": f"listen {HOST}:{port} ssl",
        "/etc/ssl/telemetry/fullchain.pem": str(certificate),
        "/etc/ssl/telemetry/privkey.pem": str(key),
        "telemetry.example.org {": f"https://{HOST}:{port} {{\n\ttls {certificate} {key}",
    }
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    kind: str = request.param
    program = PROGRAMS[kind]
    if program is None:
        pytest.skip(f"{kind} {MISSING}")
    folder = tmp_path_factory.mktemp(kind)
    certificate, _ = self_signed(folder, HOST)
    port = free_port()
    site = replaced(kind, port=port, daemon=daemon, folder=folder)
    files = nginx_files if kind == "nginx" else caddy_files
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [program, *files(folder, site)],
        env={"PATH": PATH, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
        stdout=log, stderr=log,
    )  # fmt: skip
    made = Proxy(f"https://{HOST}:{port}", certificate, daemon)
    try:
        _wait_for(made, process, folder)
        yield made
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _wait_for(proxy: Proxy, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with proxy.http() as http:
                assert http.get(proxy.url + "/health/live").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    told = [file.read_text() for file in (folder / "log", folder / "errors") if file.is_file()]
    raise AssertionError(f"it does not serve: {told}")


def test_requests_and_answers_pass(proxy: Proxy) -> None:
    point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    with proxy.http() as http:
        assert http.post("/devices/d%2F1/telemetry", json=point).json()["device_id"] == "d/1"
        assert http.get("/devices/d%2F1/metrics/m/latest").json()["value"] == 1
        refused = http.post("/bulk", content=b"[" * (4 * 2**20 + 1000))

    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_figures_stay_inside(proxy: Proxy) -> None:
    with proxy.http() as http:
        assert http.get(proxy.url + "/metrics").status_code == 404


def test_the_daemon_sees_the_client_and_not_what_it_claims(proxy: Proxy) -> None:
    port = proxy.url.rpartition(":")[2]
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": f"claims-{port}"}
    with proxy.http() as http:
        assert http.get("/devices", headers=claims).status_code == 200
    deadline = time.monotonic() + 60
    while not (lines := [x for x in proxy.daemon.log if claims["X-Request-ID"] in str(x)]):
        assert time.monotonic() < deadline, "no line of this request"
        time.sleep(0.02)

    assert CLIENT in str(lines[0])
    assert "203.0.113.9" not in str(lines[0])


def test_an_event_stream_begins_at_once(proxy: Proxy) -> None:
    asked = {"Accept": "text/event-stream"}
    with proxy.http() as http, http.stream("GET", "/stream/telemetry", headers=asked) as answer:
        lines = answer.iter_lines()

        assert "event: welcome" in [next(lines) for _ in range(8)]


async def test_a_websocket_of_an_own_page_passes_and_of_another_does_not(proxy: Proxy) -> None:
    url = proxy.url.replace("https", "wss", 1) + "/ws"
    options: dict[str, Any] = {
        "additional_headers": proxy.headers,
        "ssl": proxy.tls,
        "compression": None,
        "open_timeout": 60,
    }
    async with connect(url, origin=Origin(proxy.url), **options) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"

    with pytest.raises(InvalidStatus) as refused:
        await connect(url, origin=Origin("https://elsewhere.example"), **options)
    assert refused.value.response.status_code == 403


def test_a_tail_needs_no_other_way(proxy: Proxy) -> None:
    trusting = {"SSL_CERT_FILE": str(proxy.certificate)}
    device = proxy.url.rpartition(":")[2]
    with tailing(proxy.daemon, "-d", device, url=proxy.url, environ=trusting) as tail:
        is_listening(tail, proxy.daemon, device=device)

    assert tail.err == []


def test_the_settings_of_the_page_are_settings() -> None:
    [settings] = blocks(DOC, "toml")

    assert Config(**tomllib.loads(settings)).server.trusted_proxies
