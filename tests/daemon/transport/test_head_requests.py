"""HEAD says what GET would, and nothing more."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from control import API, Control, bearer
from daemons import DaemonProcess
from signers import HandSigner

from daemon.domain.tokens import key_id_of
from daemon.transport.http import describe

pytestmark = pytest.mark.anyio

GETS = sorted(
    path
    for path, methods in describe().openapi()["paths"].items()
    if "get" in methods and "/stream/" not in path
)
QUERIES: dict[str, dict[str, Any]] = {
    f"{API}/aggregated": {
        "metric_name": "m",
        "aggregation_type": "avg",
        "interval": 60,
        "start_time": "2025-12-18T10:00:00Z",
        "end_time": "2025-12-18T11:00:00Z",
    },
    f"{API}/export/csv": {
        "device_ids": "d",
        "metric_names": "m",
        "start_time": "2025-12-18T10:00:00Z",
        "end_time": "2035-12-18T11:00:00Z",
    },
    f"{API}/jobs/latest": {"type": "backtest"},
    f"{API}/latest": {"device_ids": "d"},
}
MOVING = {"x-request-id", "date", "etag"}
"""What two answers to one request need not have in common: those with ages have other tags."""


def said(answer: httpx.Response) -> tuple[int, dict[str, str]]:
    kept = {name: value for name, value in answer.headers.items() if name not in MOVING}
    return answer.status_code, kept


async def test_every_route_that_answers_get_answers_head(control: Control) -> None:
    now_us = control.clock.now_us()
    await control.send([("d", "m", now_us - 1_000_000, 1.0)])
    found = {}
    for path in GETS:
        named = path.replace("{device_id}", "d").replace("{metric_name}", "m")
        named = re.sub(r"\{\w+\}", "none", named)
        get = await control.client.get(named, params=QUERIES.get(path))
        head = await control.client.head(named, params=QUERIES.get(path))
        found[path] = get.status_code

        assert said(head) == said(get), path
        assert head.content == b"", path

    assert set(found.values()) == {200, 400, 404}
    assert sum(status == 200 for status in found.values()) > 25


async def test_it_needs_the_scope_and_costs_what_get_costs(control: Control) -> None:
    token = await control.key("ingest")
    forbidden = await control.client.head(f"{API}/devices", headers=bearer(token))
    missing = await control.client.head(f"{API}/devices", headers={"Authorization": ""})

    assert forbidden.status_code == 403
    assert missing.status_code == 401


async def test_what_is_known_already_is_a_304(control: Control) -> None:
    await control.client.post(f"{API}/metrics", json={"name": "m", "data_type": "numeric"})
    seen = await control.client.head(f"{API}/metrics/m")
    again = await control.client.head(
        f"{API}/metrics/m", headers={"If-None-Match": seen.headers["etag"]}
    )

    assert (seen.status_code, again.status_code) == (200, 304)


async def test_it_is_signed_as_what_it_is(control: Control) -> None:
    hand = HandSigner()
    token = await control.key("read", signing_key=hand.public_bytes)
    hand.key_id = key_id_of(token) or ""
    created = control.clock.now_us() // 1_000_000
    found = {}
    for method in ("HEAD", "GET"):
        made = hand.headers(method, f"http://daemon{API}/devices", created=created)
        head = await control.client.head(f"{API}/devices", headers=bearer(token) | made)
        found[method] = head.status_code

    assert found == {"HEAD": 200, "GET": 401}


async def test_a_path_that_only_takes_posts_has_no_head(control: Control) -> None:
    answer = await control.client.head(f"{API}/bulk")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_connection_goes_on_behind_it(daemon: DaemonProcess) -> None:
    with daemon.http() as http:
        http.post("/devices/d/telemetry", json={"metric_name": "m", "value": 1})
        for path in ("/devices", "/health", "/metrics", "/api/docs", "/export/csv", "/nothing"):
            whole = path if path in ("/health", "/metrics", "/api/docs") else API + path
            query = {"device_ids": "d", "metric_names": "m"} if path == "/export/csv" else None
            get = http.get(daemon.url + whole, params=query)
            head = http.head(daemon.url + whole, params=query)
            assert head.status_code == get.status_code, path
            assert head.headers.get("content-type") == get.headers.get("content-type")
            assert head.content == b""
        stream = http.head("/stream/events")

    assert (stream.status_code, stream.headers["allow"]) == (405, "GET")
