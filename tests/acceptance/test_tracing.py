"""A request can be followed: its id and trace stand in its answer, its line, its events, what NATS
is told, and what channels send because of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from daemons import start_daemon
from nats_servers import nats_server, stream_of
from receivers import Sink, http_sink

from daemon.tracing import trace_of

pytestmark = pytest.mark.anyio
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"X-Request-ID": "order-66", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


def traced(headers: Any) -> str:
    """The trace that these headers name."""
    found = trace_of([headers["traceparent"].encode()])
    assert found is not None
    return found.trace_id


async def test_a_request_is_followed_to_its_end(dsn: str, tmp_path: Path) -> None:
    with http_sink() as sink, nats_server(tmp_path) as bus:
        daemon = start_daemon(dsn, notifications__allow_hosts='["127.0.0.1"]', nats__url=bus.url)
        try:
            with daemon.http() as http:
                acts = _act(http, sink)
                feed = http.get("/events?limit=100").json()["events"]
            last = next(one for one in feed if one["type"] == "alert.resolved")
            stored = await stream_of(bus, until=last["event_id"])
            line = next(
                line for line in _requests(daemon, "order-66") if line["path"].endswith("resolve")
            )
        finally:
            daemon.stop()

    answer, tested, closed = acts
    assert answer.headers["x-request-id"] == "order-66"
    assert traced(answer.headers) == TRACE
    for sent in (tested, closed):
        assert sent.headers["x-request-id"] == "order-66"
        assert traced(sent.headers) == TRACE
    for told in stored:
        if told.subject in ("alert.acknowledged", "alert.resolved"):
            assert told.headers["X-Request-ID"] == "order-66"
            assert traced(told.headers) == TRACE
            assert "_cause" not in told.body["data"]
    assert (line["trace_id"], line["status"]) == (TRACE, 200)
    assert "_cause" not in json.dumps(feed)


def _act(http: Any, sink: Sink) -> tuple[Any, Any, Any]:
    """Fire an alert and end it by hand: the answer to that, a test message and the last message."""
    http.post("/channels", json={"name": "hook", "kind": "webhook", "url": sink.url})
    http.post("/channels/hook/test", headers=HEADERS).raise_for_status()
    rule = {
        "name": "hot", "metric_name": "t", "condition": ">", "threshold_value": 1,
        "notification_channels": ["hook"], "auto_resolve": False,
    }  # fmt: skip
    http.post("/alerts/rules", json=rule).raise_for_status()
    point = {"timestamp": time.time(), "metric_name": "t", "value": 9}
    http.post("/devices/oven/telemetry", json=point).raise_for_status()
    sink.wait_for(2)
    alert_id = http.get("/alerts").json()["alerts"][0]["alert_id"]
    http.put(f"/alerts/{alert_id}/acknowledge", json={}, headers=HEADERS).raise_for_status()
    answer = http.put(f"/alerts/{alert_id}/resolve", json={}, headers=HEADERS)
    tested, fired, closed = sink.wait_for(3)[:3]

    assert "x-request-id" not in fired.headers
    return answer, tested, closed


def _requests(daemon: Any, request_id: str) -> list[dict[str, Any]]:
    """Lines of requests of this id, once the last of them is written."""
    deadline = time.monotonic() + 30
    while True:
        found = [
            line
            for line in list(daemon.log)
            if line["event"] == "request" and line["request_id"] == request_id
        ]
        if any(line["path"].endswith("resolve") for line in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
