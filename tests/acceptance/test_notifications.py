"""Alerts of a real daemon reach real receivers, and everybody who was told hears of the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from receivers import (
    ALERTMANAGER_MISSING,
    Sink,
    alertmanager,
    http_sink,
    mail_sink,
)
from servers import PostgresServer


@pytest.fixture(scope="module")
def telling(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A daemon whose channels may reach this host."""
    import asyncio

    daemon = start_daemon(
        asyncio.run(fresh_database(postgres)), notifications__allow_hosts='["127.0.0.1"]'
    )
    yield daemon
    daemon.stop()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


def make(http: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def a_rule(http: httpx.Client, name: str, *channels: str, **fields: Any) -> str:
    """A rule on a metric of its own name: more than 10 is too much, for one second."""
    fields = {"auto_resolve_timeout": 1, "cooldown_minutes": 0, "level": "error"} | fields
    made = make(
        http, "/alerts/rules", name=name, metric_name=name, condition=">", threshold_value=10,
        notification_channels=list(channels), **fields,
    )  # fmt: skip
    return str(made["rule_id"])


def send(http: httpx.Client, metric: str, value: float, *, device: str = "oven") -> None:
    point = {"timestamp": time.time(), "metric_name": metric, "value": value}
    answer = http.post(f"/devices/{device}/telemetry", json=point)
    assert answer.status_code == 200, answer.text


def wait_for(find: Callable[[], Any], *, timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return found


def ledger(http: httpx.Client, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/notifications", params=filters).json()["notifications"]
    return found


def test_a_webhook_is_told_of_an_alert_and_of_its_end_signed(
    telling: DaemonProcess, sink: Sink
) -> None:
    with telling.http() as http:
        channel = make(http, "/channels", name="hook", kind="webhook", url=f"{sink.url}/in?x=1")
        a_rule(http, "hot", "hook")
        send(http, "hot", 99)
        fired, over = sink.wait_for(2)[:2]
        rows = wait_for(lambda: [r for r in ledger(http, channel="hook") if r["status"] == "sent"])

    event = fired.json
    assert fired.path == "/in?x=1"
    assert fired.is_signed_with(channel["secret"])
    assert over.is_signed_with(channel["secret"])
    assert fired.headers["content-type"].startswith("application/cloudevents+json")
    assert (event["specversion"], event["type"]) == ("1.0", "alert.triggered")
    assert event["id"] == fired.webhook_id
    assert event["data"]["status"] == "active"
    assert event["data"]["device_id"] == "oven"
    assert event["data"]["value"] == 99
    assert over.json["type"] == "alert.resolved"
    assert over.json["data"]["status"] == "resolved"
    assert over.json["data"]["alert_id"] == event["data"]["alert_id"]
    assert rows[-1]["idempotency_key"] == fired.webhook_id
    assert rows[-1]["ledger"][0]["status_code"] == 200


def test_a_secret_is_shown_once_and_stored_in_no_readable_form(
    telling: DaemonProcess, sink: Sink
) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with telling.http() as http:
        made = make(http, "/channels", name="mine", kind="webhook", url=sink.url, secret=secret)
        shown = http.get("/channels/mine").text + http.get("/channels").text
        tested = http.post("/channels/mine/test").json()

    key_file = telling.home / "data" / "telemetryd" / "secret_key"
    assert "secret" not in made
    assert made["secrets"] == ["secret"]
    assert "whsec_" not in shown
    assert tested["success"]
    assert sink.requests[0].is_signed_with(secret)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert "whsec_" not in str(telling.log)


def test_mail_reaches_a_real_mail_server(telling: DaemonProcess) -> None:
    with mail_sink() as mails, telling.http() as http:
        make(
            http, "/channels", name="mail", kind="email", host="127.0.0.1", port=mails.port,
            **{"from": "alerts@example.org"}, to=["ana@example.org", "bo@example.org"],
        )  # fmt: skip
        a_rule(http, "mailed", "mail")
        send(http, "mailed", 42)
        wait_for(lambda: len(mails.mails) == 2)

    first, second = mails.mails
    assert first["Subject"] == "[ERROR] mailed: oven"
    assert mails.recipients[0] == ["ana@example.org", "bo@example.org"]
    assert "mailed of oven is 42 (> 10)" in first.get_content()
    assert second["Subject"] == "[OVER] mailed: oven"
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]


def test_slack_gets_text_that_mentions_nobody(telling: DaemonProcess, sink: Sink) -> None:
    with telling.http() as http:
        make(http, "/channels", name="slack", kind="slack", url=f"{sink.url}/T0/secret-path")
        a_rule(http, "slacked", "slack", auto_resolve=False)
        send(http, "slacked", 11)
        body = sink.wait_for(1)[0].json
        shown = http.get("/channels/slack").text

    assert body["text"] == "*[ERROR] slacked: oven*"
    assert "slacked of oven is 11 (&gt; 10)" in body["attachments"][0]["text"]
    assert "secret-path" not in shown
    assert "secret-path" not in str(telling.log)


@pytest.fixture
def manager() -> Iterator[str]:
    """The URL of a real Alertmanager."""
    try:
        with alertmanager() as url:
            yield url
    except FileNotFoundError:
        pytest.skip(ALERTMANAGER_MISSING)


def test_debians_alertmanager_takes_an_alert_and_its_end(
    telling: DaemonProcess, manager: str
) -> None:
    def held() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{manager}/api/v2/alerts", timeout=30).json()
        return found

    with telling.http() as http:
        make(http, "/channels", name="am", kind="alertmanager", url=manager)
        a_rule(http, "managed", "am", auto_resolve=False)
        send(http, "managed", 12)
        alerts = wait_for(held)
        # By hand: by itself it might be over before anybody looks.
        alert_id = ledger(http, channel="am")[0]["alert_id"]
        ended = http.put(f"/alerts/{alert_id}/resolve", json={})

        assert alerts[0]["labels"]["alertname"] == "managed"
        assert alerts[0]["labels"]["device_id"] == "oven"
        assert alerts[0]["labels"]["severity"] == "error"
        assert ended.status_code == 200, ended.text
        assert wait_for(lambda: held() == [])
        # Written down when the answer has come back.
        wait_for(lambda: [r["status"] for r in ledger(http, channel="am")] == ["sent", "sent"])


def test_a_stream_channel_is_told_in_the_feed_of_events(telling: DaemonProcess) -> None:
    with telling.http() as http:
        make(http, "/channels", name="inapp", kind="stream")
        a_rule(http, "streamed", "inapp")
        send(http, "streamed", 12)

        def told() -> list[Any]:
            asked = {"type": "notification.delivered"}
            events = http.get("/events", params=asked).json()["events"]
            return events if len(events) >= 2 else []

        events = wait_for(told)

    assert [e["data"]["type"] for e in events] == ["alert.resolved", "alert.triggered"]
    assert {e["data"]["channel"] for e in events} == {"inapp"}


def test_an_alert_that_somebody_ends_is_told_as_over(telling: DaemonProcess, sink: Sink) -> None:
    with telling.http() as http:
        make(http, "/channels", name="byhand", kind="webhook", url=sink.url)
        rule_id = a_rule(http, "handled", "byhand", auto_resolve=False)
        send(http, "handled", 12)
        first = sink.wait_for(1)[0].json["data"]["alert_id"]
        http.put(f"/alerts/{first}/resolve", json={"note": "fixed"})
        sink.wait_for(2)
        send(http, "handled", 13)
        second = sink.wait_for(3)[2].json["data"]["alert_id"]
        http.delete(f"/alerts/rules/{rule_id}")
        sink.wait_for(4)

    assert sink.told == [
        (first, "alert.triggered", "active"),
        (first, "alert.resolved", "resolved"),
        (second, "alert.triggered", "active"),
        (second, "alert.resolved", "resolved"),
    ]
    assert sink.requests[1].json["data"]["resolved_note"] == "fixed"
    assert sink.requests[3].json["data"]["resolved_reason"] == "rule_deleted"


def test_what_failed_is_tried_again_with_the_same_id(telling: DaemonProcess, sink: Sink) -> None:
    sink.answer = lambda request: (500, {}, b"") if len(sink.requests) < 2 else (204, {}, b"")
    with telling.http() as http:
        make(http, "/channels", name="flaky", kind="webhook", url=sink.url)
        a_rule(http, "retried", "flaky", auto_resolve=False)
        send(http, "retried", 12)
        sink.wait_for(3)
        row = wait_for(lambda: ledger(http, channel="flaky", status="sent"))[0]

    assert len({request.webhook_id for request in sink.requests}) == 1
    assert [attempt["outcome"] for attempt in row["ledger"]] == ["failed", "failed", "sent"]
    assert [attempt["status_code"] for attempt in row["ledger"]] == [500, 500, 204]


def test_what_was_given_up_is_told_by_the_fallback_and_can_be_sent_again(
    telling: DaemonProcess, sink: Sink
) -> None:
    sink.answer = lambda request: (404 if request.path == "/gone" else 200, {}, b"")
    with telling.http() as http:
        make(http, "/channels", name="second", kind="webhook", url=f"{sink.url}/second")
        make(
            http, "/channels", name="first", kind="webhook", url=f"{sink.url}/gone",
            fallback="second",
        )  # fmt: skip
        a_rule(http, "fallen", "first", auto_resolve=False)
        send(http, "fallen", 12)
        dead = wait_for(lambda: ledger(http, channel="first", status="dead"))[0]
        wait_for(lambda: len(ledger(http, channel="second", status="sent")) == 1)
        ended = http.put(f"/alerts/{dead['alert_id']}/resolve", json={})
        wait_for(lambda: len(ledger(http, channel="second", status="sent")) == 2)
        told = [request.json["type"] for request in sink.requests if request.path == "/second"]
        closing = wait_for(lambda: ledger(http, channel="first", status="dropped"))[0]
        sink.answer = lambda request: (200, {}, b"")
        again = http.post(f"/notifications/{dead['notification_id']}/retry").json()
        wait_for(lambda: len(ledger(http, channel="first", status="sent")) == 2)
        late = [r.json["type"] for r in sink.requests if r.path == "/gone"][dead["attempts"] :]

    assert ended.status_code == 200, ended.text
    assert (dead["verdict"], dead["reason"]["fallback"]) == ("fallback", "second")
    assert told == ["alert.triggered", "alert.resolved"]
    assert closing["kind"] == "close"
    assert again["success"]
    assert late == ["alert.triggered", "alert.resolved"]


def test_a_silence_holds_back_and_its_end_tells_in_a_digest(
    telling: DaemonProcess, sink: Sink
) -> None:
    with telling.http() as http:
        make(http, "/channels", name="calm", kind="webhook", url=sink.url)
        silence = make(
            http, "/silences", matchers={"rule_name": "hush*", "device_id": ["oven", "kiln"]},
            ends_at=time.time() + 3600, comment="works",
        )  # fmt: skip
        a_rule(http, "hushed", "calm", auto_resolve=False)
        send(http, "hushed", 12)
        send(http, "hushed", 13, device="kiln")
        held = wait_for(
            lambda: rows if len(rows := ledger(http, channel="calm", status="silenced")) == 2 else 0
        )
        answer = http.delete(f"/silences/{silence['silence_id']}")
        digest = sink.wait_for(1)[0].json
        resolved = [alert["alert_id"] for alert in digest["data"]["alerts"]]
        http.put(f"/alerts/{resolved[0]}/resolve")
        sink.wait_for(2)

    assert {row["reason"]["silence_id"] for row in held} == {silence["silence_id"]}
    assert answer.status_code == 200
    assert digest["type"] == "alert.digest"
    assert {alert["status"] for alert in digest["data"]["alerts"]} == {"active"}
    assert {alert["device_id"] for alert in digest["data"]["alerts"]} == {"oven", "kiln"}
    assert sink.requests[1].json["data"]["alert_id"] == resolved[0]


def test_an_unknown_channel_is_a_verdict(telling: DaemonProcess) -> None:
    with telling.http() as http:
        a_rule(http, "nowhere", "nobody", auto_resolve=False)
        send(http, "nowhere", 12)
        row = wait_for(lambda: ledger(http, channel="nobody", status="unknown_channel"))[0]

    assert row["status"] == "dead"


def test_the_detailed_health_counts_deliveries(telling: DaemonProcess, sink: Sink) -> None:
    with telling.http() as http:
        make(http, "/channels", name="counted", kind="webhook", url=sink.url)
        http.post("/channels/counted/test")
        engine = http.get(f"{telling.url}/health/detailed").json()
        engine = engine.get("components", engine)["alert_engine"]

    assert engine["notifications_sent"] >= 1
    assert engine["delivery_latency_ms_avg"] > 0
