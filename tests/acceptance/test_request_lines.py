"""Every way that a request can go leaves one line of JSON in the log of a real daemon, whatever the
client puts into it (S-23)."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, _environment, started
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.anyio
FIELDS = {
    "ts", "level", "event", "logger", "request_id", "trace_id", "principal", "method", "route",
    "status", "ms", "bytes", "remote",
}  # fmt: skip


def point(value: float = 1.0) -> dict[str, Any]:
    return {"timestamp": time.time(), "metric_name": "t", "value": value}


def lines_of(daemon: DaemonProcess, request_id: str) -> list[dict[str, Any]]:
    """The lines of this request so far."""
    lines = [line for line in list(daemon.log) if line["event"] == "request"]
    return [line for line in lines if line["request_id"] == request_id]


def test_each_way_leaves_one_line(daemon: DaemonProcess) -> None:
    device = f"{API}/devices/{{device_id}}"
    latest = f"{device}/metrics/{{metric_name}}/latest"
    tagged = point(2) | {"tags": {"a": "b"}}
    three = {"data_points": [point(n) for n in range(3)]}
    with daemon.http() as http:
        http.post("/devices/pump/telemetry", json=point())
        ways: list[tuple[str, str, Any, str]] = [
            ("POST", "/devices/pump/telemetry", point(2), f"{device}/telemetry"),
            ("POST", "/devices/pump/telemetry", tagged, f"{device}/telemetry"),
            ("POST", "/devices/pump/telemetry/batch", three, f"{device}/telemetry/batch"),
            ("POST", "/bulk", {"a": [point()], "b": [point()]}, f"{API}/bulk"),
            ("GET", "/devices/pump/metrics/t/latest", None, latest),
            ("GET", "/devices/pump", None, device),
            ("GET", "/nothing", None, "other"),
        ]  # fmt: skip
        for number, (method, path, body, _) in enumerate(ways):
            http.request(method, path, json=body, headers={"X-Request-ID": f"way-{number}"})
    one_line_of(daemon, f"way-{len(ways) - 1}")
    found = [lines_of(daemon, f"way-{number}") for number in range(len(ways))]

    assert [len(lines) for lines in found] == [1] * len(ways)
    for (line,), (method, _, _, route) in zip(found, ways, strict=True):
        assert set(line) >= FIELDS, line
        assert (line["method"], line["route"]) == (method, route)
        assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"])
        assert route == "other" or line["principal"].startswith("key_")
    counts = [(lines[0].get("device_count"), lines[0].get("point_count")) for lines in found]
    assert counts == [(1, 1), (1, 1), (1, 3), (2, 2), (None, None), (None, None), (None, None)]


def counted(daemon: DaemonProcess, route: str, method: str, code: int) -> float:
    """Requests so far, as the figures say."""
    page = httpx.get(daemon.url + "/metrics", timeout=60).text
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            of = tuple(sample.labels.get(name) for name in ("route", "method", "code"))
            if sample.name == "telemetry_http_requests_total" and of == (route, method, str(code)):
                return sample.value
    return 0.0


def one_line_of(daemon: DaemonProcess, request_id: str) -> dict[str, Any]:
    """Its only line, when it has been written."""
    deadline = time.monotonic() + 60
    while not lines_of(daemon, request_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    [line] = lines_of(daemon, request_id)
    return line


def leave_a_line(daemon: DaemonProcess, request_id: str) -> None:
    """Once it is written, those of requests that were answered before are."""
    with daemon.http() as http:
        http.get("/devices", headers={"X-Request-ID": request_id}).raise_for_status()
    one_line_of(daemon, request_id)


async def test_preflights_leave_one_line_granted_or_not(dsn: str) -> None:
    page = "https://ops.example.com"
    daemon = await started(dsn, http__cors_origins=json.dumps([page]))
    for name, origin in (("granted", page), ("refused", "https://evil.example")):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        own_id = f"preflight-{name}"
        httpx.options(daemon.url + "/health", headers=asked | {"X-Request-ID": "quiet"}, timeout=60)
        path = f"{API}/devices"
        status = httpx.options(
            daemon.url + path, headers=asked | {"X-Request-ID": own_id}, timeout=60
        ).status_code
        line = one_line_of(daemon, own_id)

        assert (status == 403) == (name == "refused")
        assert set(line) >= FIELDS
        assert (line["method"], line["status"], line["path"]) == ("OPTIONS", status, path)
        assert counted(daemon, "other", "OPTIONS", status) == 1


def test_an_event_stream_leaves_one_line_when_it_ends(daemon: DaemonProcess) -> None:
    path, route = f"{API}/stream/telemetry", f"{API}/stream/{{channel}}"
    before = counted(daemon, route, "GET", 200)
    headers = {"Accept": "text/event-stream", "X-Request-ID": "events-1"}
    with daemon.http() as http, http.stream("GET", "/stream/telemetry", headers=headers) as answer:
        events = answer.iter_bytes()
        next(events)
        time.sleep(0.3)

        assert lines_of(daemon, "events-1") == []
    line = one_line_of(daemon, "events-1")

    assert set(line) >= FIELDS
    assert (line["method"], line["route"], line["path"]) == ("GET", route, path)
    assert line["status"] == 200
    assert line["principal"].startswith("key_")
    assert line["ms"] >= 300
    assert line["bytes"] > 0
    assert counted(daemon, route, "GET", 200) == before + 1


def test_a_refused_event_stream_leaves_one_line_too(daemon: DaemonProcess) -> None:
    headers = {"Accept": "text/event-stream", "X-Request-ID": "events-2"}
    httpx.get(f"{daemon.url}{API}/stream/telemetry", headers=headers, timeout=60)
    line = one_line_of(daemon, "events-2")

    assert (line["status"], line["principal"]) == (401, None)


def test_an_event_stream_that_lasts_makes_no_request_slow(daemon: DaemonProcess) -> None:
    count, before_s = taken_by_streams(daemon)
    headers = {"Accept": "text/event-stream", "X-Request-ID": "events-3"}
    began_s = time.monotonic()
    with daemon.http() as http, http.stream("GET", "/stream/alerts", headers=headers) as answer:
        events = answer.iter_bytes()
        next(events)
        opened_s = time.monotonic() - began_s
        time.sleep(1.2)
    line = one_line_of(daemon, "events-3")
    now, after_s = taken_by_streams(daemon)

    assert now == count + 1
    assert after_s - before_s < opened_s
    assert line["ms"] >= 1_200


def taken_by_streams(daemon: DaemonProcess) -> tuple[float, float]:
    """How many event streams there were, and how many seconds they took as requests."""
    page = httpx.get(daemon.url + "/metrics", timeout=60).text
    name = "telemetry_http_request_duration_seconds"
    found = {
        sample.name.removeprefix(name): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("route") == f"{API}/stream/{{channel}}"
    }
    return found.get("_count", 0.0), found.get("_sum", 0.0)


def test_what_is_no_http_leaves_one_line(daemon: DaemonProcess) -> None:
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    line = one_line_of(daemon, json.loads(body)["request_id"])

    assert head.startswith(b"HTTP/1.1 400 ")
    assert set(line) >= FIELDS
    assert (line["method"], line["route"], line["status"]) == ("other", "other", 400)
    assert (line["bytes"], line["remote"]) == (len(body), "127.0.0.1")
    assert counted(daemon, "other", "other", 400) >= 1


@pytest.mark.parametrize(
    ("path", "route", "more"),
    [
        ("/auth/login", "/auth/login", ""),
        (f"{API}/bulk", f"{API}/bulk", "X-Api-Key: {key}"),
        (f"{API}/devices", f"{API}/devices", ""),
    ],
)
def test_a_body_that_breaks_leaves_the_line_of_its_answer(
    daemon: DaemonProcess, path: str, route: str, more: str
) -> None:
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    own_id = f"broken-{path[-6:]}"
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"X-Request-ID: {own_id}",
             "Transfer-Encoding: chunked"]  # fmt: skip
    lines += [more.format(key=daemon.key)] if more else []
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", "zz", ""]).encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    line = one_line_of(daemon, own_id)

    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["request_id"] == own_id
    assert (line["status"], line["route"], line["bytes"]) == (400, route, len(body))


def test_probes_and_scrapes_leave_none(daemon: DaemonProcess) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/health/detailed", "/metrics"):
        httpx.get(daemon.url + path, headers={"X-Request-ID": "probe"}, timeout=60)
    leave_a_line(daemon, "after-probes")

    assert lines_of(daemon, "probe") == []


def test_what_a_client_sends_makes_no_second_line_and_no_long_one(daemon: DaemonProcess) -> None:
    before = len(daemon.log)
    key = daemon.key.encode()
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    for path, header in (
        (b"/a%0d%0a%7b%22event%22:%22forged%22%7d", b"X-Request-ID: %1b[31m"),
        (b"/a%1b[31m%9b31m%e2%80%a8", b'X-Request-ID: "},{"event":"forged"'),
        (b"/" + b"%F0%9F%92%A9" * 3_000, b"X-Request-ID: " + b"x" * 128),
        (b"/a?token=" + key, b"User-Agent: \x1b]0;owned\x07"),
        (b"/b", b"X-Long: " + b"y" * 1_000_000),
        (b"/c", b"Authorization: Bearer " + b"z" * 60_000),
    ):
        text = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n\r\n" % (path, header)
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            try:
                connection.sendall(text)
                while connection.recv(65_536):
                    pass
            except OSError:
                continue
    leave_a_line(daemon, "after-all")
    lines = list(daemon.log)[before:]

    # Other loops of a daemon that has just started say something of their own meanwhile.
    assert {line["event"] for line in lines if "request_id" in line} == {"request"}
    assert not [line for line in lines if line["event"] in ("forged", "not_json")]
    assert max(len(json.dumps(line)) for line in lines) < 2_048
    assert daemon.key not in json.dumps(lines)


async def test_lines_of_all_processes_are_whole_in_one_pipe(dsn: str, tmp_path: Path) -> None:
    """Two processes write into one pipe that nobody reads meanwhile."""
    program = Path(sys.executable).parent / "telemetryd"
    environment = _environment(tmp_path) | {
        "TELEMETRY_DATABASE__URL": dsn,
        "TELEMETRY_SERVER__PORT": "0",
        "TELEMETRY_SERVER__PROCESSES": "2",
        "TELEMETRY_LOG__FORMAT": "json",
    }
    with subprocess.Popen([program, "serve"], stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        while sum(line["event"] == "serving" for line in lines) < 2:
            lines.append(json.loads(process.stderr.readline()))
        url = lines[-1]["url"]
        try:
            with httpx.Client(timeout=60) as http:
                for number in range(300):
                    # Each has a connection of its own, so that both processes get some.
                    http.get(
                        url + "/auth/whoami", headers={"Connection": "close", "X-Try": str(number)}
                    )
        finally:
            process.terminate()
        lines += [json.loads(line) for line in process.stderr]

    of_requests = [line for line in lines if line["event"] == "request"]
    assert len(of_requests) == 300
    assert {line["process"] for line in of_requests} == {1, 2}
