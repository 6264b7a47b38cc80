"""A daemon calls nobody but its database, until a channel or NATS says whom (S-25)."""

from __future__ import annotations

import ast
import asyncio
import re
import time
from pathlib import Path

from daemons import API, DaemonProcess, start_daemon
from databases import fresh_database
from receivers import http_sink
from servers import PostgresServer

ROOT = Path(__file__).parents[2]
# What can open a connection of its own, and which part of the daemon may have it.
CALLERS = re.compile(
    r"^(httpx|aiosmtplib|apprise|nats|requests|urllib3|urllib\.request|http\.client|smtplib|ftplib"
    r"|telnetlib|aiohttp|websockets\.client|websockets\.asyncio|websockets\.sync)(\.|$)"
)
ALLOWED = "daemon/delivery/"


def test_only_deliveries_import_what_can_call_somebody() -> None:
    found = []
    for path in sorted((ROOT / "daemon").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if any(CALLERS.match(module) for module in modules) and not name.startswith(ALLOWED):
                found.append(name)

    assert found == []


def use(daemon: DaemonProcess) -> None:
    """A little of everything that a daemon does."""
    daemon.cli("write", "oven", "heat=20")
    daemon.cli("rule", "create", "hot", "-m", "heat", "--when", "> 90")
    daemon.cli("write", "oven", "heat=120")
    with daemon.http() as http:
        for path in ("/devices", "/latest", "/changes", "/stats", "/overview", "/rates"):
            http.get(path)
        http.post("/auth/login", json={"api_key": daemon.key})
        http.get("/aggregated?metric_name=heat&aggregation_type=avg&interval=60"
                 "&start_time=2026-01-01T00:00:00Z&end_time=2026-12-31T00:00:00Z")  # fmt: skip
        deadline = time.monotonic() + 60
        while not http.get("/alerts").json()["alerts"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for path in ("/health/detailed", "/metrics", "/api/docs", "/api/openapi.json"):
            http.get(daemon.url + path)


def test_nobody_is_called_who_was_not_named(postgres: PostgresServer, tmp_path: Path) -> None:
    told = tmp_path / "connections"
    told.touch()
    daemon = start_daemon(
        asyncio.run(fresh_database(postgres)),
        sabotage="tell_connections",
        environment={"CONNECTIONS": str(told)},
        compaction__age="1s",
        notifications__allow_hosts='["127.0.0.1"]',
    )
    try:
        use(daemon)
        quiet = set(told.read_text().splitlines())
        with http_sink() as sink, daemon.http() as http:
            made = {"name": "hook", "kind": "webhook", "url": sink.url}
            assert http.post(f"{daemon.url}{API}/channels", json=made).status_code == 201
            assert http.post("/channels/hook/test").json()["success"]
            port = sink.url.rpartition(":")[2].split("/")[0]
        loud = set(told.read_text().splitlines()) - quiet
    finally:
        daemon.stop()

    assert {address.strip("'\"").startswith(str(postgres.folder)) for address in quiet} == {True}
    assert any(f"('127.0.0.1', {port}" in address for address in loud), loud


def test_nothing_is_taken_from_nats() -> None:
    """Who can publish there can delete nothing here: the daemon only publishes (S-29)."""
    called = {
        node.func.attr
        for node in ast.walk(ast.parse((ROOT / "daemon/delivery/nats.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert "publish" in called
    assert called.isdisjoint({"subscribe", "pull_subscribe", "pull_subscribe_bind", "fetch"})
