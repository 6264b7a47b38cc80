"""One line for each request, without secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from control import API, Control
from structlog.testing import capture_logs

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.lines import Lines
from daemon.live.traffic import Traffic
from daemon.transport.access_log import AccessLog, Answered, LogWish, about

CALL = ("/things/{id}", "GET")
A_KEY = Principal("key_1", "gateway", frozenset({"read"}), "pro")


@dataclass
class Written:
    """An access log into a pipe; the clock stands at 2025-12-18T12:00:00.000007Z."""

    log: AccessLog
    lines: Lines
    reader: int

    def note(self, status: int = 200, duration_s: float = 0.0123, **more: Any) -> None:
        about_it = about(CALL, more.pop("path", "/things/7"), A_KEY, "10.0.0.1")
        ids = {"request_id": "r-7", "trace_id": "a" * 32} | more.pop("ids", {})
        self.log.note(about_it, Answered(status, duration_s, 17, **more), **ids)

    def text(self) -> bytes:
        self.lines.flush()
        return os.read(self.reader, 1 << 20)

    def all(self) -> list[dict[str, Any]]:
        # One line there is always, so that nobody waits for none.
        self.log.configure(LogWish(requests="all"))
        self.note(path="/end")
        return [json.loads(line) for line in self.text().splitlines()][:-1]


@pytest.fixture
def written() -> Iterator[Written]:
    reader, writer = os.pipe()
    lines, clock = Lines(writer), ManualClock(1_766_059_200_000_007)
    log = AccessLog(Traffic(clock), clock, lines=lines)
    log.configure(LogWish(requests="all"))
    yield Written(log, lines, reader)
    os.close(reader)
    os.close(writer)


def test_a_line_says_who_asked_for_what_and_how_it_went(written: Written) -> None:
    written.note(points=3, devices=2)

    (line,) = written.all()
    assert line == {
        "ts": "2025-12-18T12:00:00.000007Z",
        "level": "info",
        "event": "request",
        "logger": "access",
        "request_id": "r-7",
        "trace_id": "a" * 32,
        "principal": "key_1",
        "method": "GET",
        "route": "/things/{id}",
        "path": "/things/7",
        "remote": "10.0.0.1",
        "status": 200,
        "ms": 12.3,
        "bytes": 17,
        "device_count": 2,
        "point_count": 3,
    }


@pytest.mark.parametrize(
    "hostile",
    [
        "a\r\nb",
        "\x1b[31mred",
        '"},{"level":"error',
        "x" * 1_000_000,
        "\U0001f4a9" * 400,
        "\\",
        "\x9b",
    ],
)
def test_what_a_client_says_stays_one_short_line(written: Written, hostile: str) -> None:
    written.note(path=f"/things/{hostile}", ids={"request_id": hostile})

    text = written.text()
    line = json.loads(text)
    assert text.count(b"\n") == 1
    assert len(text) < 2_048
    assert text.isascii()
    assert not any(byte < 0x20 for byte in text[:-1])
    assert line["level"] == "info"


def test_an_own_id_is_believed_only_if_it_has_the_form_of_one(written: Written) -> None:
    written.note(ids={"request_id": 'req_0123456789ab","level":"x'})

    assert written.all()[0]["level"] == "info"


def test_slow_ones_and_errors_are_lines_where_only_those_are_wanted(written: Written) -> None:
    written.log.configure(LogWish(requests="slow_and_errors", slow_s=0.5))
    for status, duration_s in ((200, 0.1), (200, 0.6), (304, 0.1), (404, 0.1), (503, 0.1)):
        written.note(status, duration_s)

    lines = written.all()
    assert [line["status"] for line in lines] == [200, 404, 503]
    assert [line["level"] for line in lines] == ["info", "info", "warning"]
    assert written.log.traffic.requests_total == 6


@pytest.mark.parametrize(
    ("wish", "statuses"),
    [
        (LogWish("warning", "all"), [500]),
        (LogWish("error", "all"), []),
        (LogWish("info", "none"), []),
        (LogWish("debug", "all"), [200, 404, 500]),
    ],
)
def test_a_line_obeys_the_level(written: Written, wish: LogWish, statuses: list[int]) -> None:
    written.log.configure(wish)
    for status in (200, 404, 500):
        written.note(status)

    assert [line["status"] for line in written.all()] == statuses


def test_a_probe_is_a_line_only_for_who_debugs_and_is_not_counted(written: Written) -> None:
    written.note(path="/health/live")
    written.note(path="/metrics")
    quiet = written.all()
    written.log.configure(LogWish("debug", "all"))
    written.note(path="/health")

    assert quiet == []
    assert written.all()[0]["level"] == "debug"
    assert written.log.traffic.requests_total == 2


def test_the_process_stands_in_every_line(written: Written) -> None:
    written.log.configure(LogWish(requests="all", process=3))
    written.note()

    assert json.loads(written.text())["process"] == 3


def test_on_a_terminal_it_is_a_line_of_the_logger(written: Written) -> None:
    written.log.configure(LogWish(requests="all", is_text=True))
    with capture_logs() as lines:
        written.note(404)

    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [
        ("request", "info", 404)
    ]


@pytest.mark.anyio
async def test_a_request_is_one_line_with_its_route_and_without_its_query(
    control: Control, written: Written
) -> None:
    access = control.services.access
    access.configure(LogWish(requests="all"))
    access.lines = written.lines
    await control.client.get(
        f"{API}/metrics/none?token=hunter2",
        headers={"X-Request-ID": "r-7", "traceparent": f"00-{'b' * 32}-{'c' * 16}-01"},
    )

    text = written.text()
    line = json.loads(text)
    assert (line["method"], line["path"], line["status"]) == ("GET", f"{API}/metrics/none", 404)
    assert line["route"] == f"{API}/metrics/{{metric_name}}"
    assert (line["request_id"], line["trace_id"]) == ("r-7", "b" * 32)
    assert line["principal"].startswith("key_")
    assert line["ms"] >= 0
    assert line["bytes"] > 100
    assert line["remote"]
    assert b"hunter2" not in text
    assert control.token.encode() not in text


@pytest.mark.anyio
async def test_requests_are_counted_for_the_statistics(control: Control) -> None:
    await control.client.get(f"{API}/metrics")
    await control.client.get(f"{API}/metrics")

    assert control.services.traffic.requests_total == 2
