"""Calls over a bad network to a busy server: what is tried again, and what it ends as."""

from __future__ import annotations

import json
import socket
import time

import pytest
from rough_server import Behaviour, answer, rough_server

from telemetryctl.client.credential import Credential
from telemetryctl.client.errors import ServerProblem
from telemetryctl.client.http import Client
from telemetryctl.failures import ConfigurationFailure, Failure, TryLater
from telemetryctl.output.exit_codes import ExitCode

STATS = json.dumps({"total_devices": 1}).encode()
OK = answer("200 OK", STATS)
PROBLEM = "application/problem+json"


def problem(status: str, code: str, *headers: str) -> bytes:
    body = json.dumps({"title": "x", "detail": "It is so.", "code": code}).encode()
    return answer(status, body, "X-Request-ID: r1", *headers, content_type=PROBLEM)


BUSY = problem("503 Service Unavailable", "busy", "Retry-After: 0")


def hang_up(connection: socket.socket) -> None:
    connection.close()


def break_off(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def drip(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1_000):
        connection.sendall(b" ")
        time.sleep(0.05)


def test_a_busy_server_is_asked_again() -> None:
    with rough_server([BUSY, BUSY, OK]) as server, Client(server.url) as client:
        assert client.stats() == {"total_devices": 1}
        assert len(server.requests) == 3


def test_three_tries_are_enough() -> None:
    with rough_server([BUSY]) as server, Client(server.url) as client:
        with pytest.raises(ServerProblem) as failed:
            client.stats()
        assert len(server.requests) == 3
    assert failed.value.exit_code == ExitCode.TRY_LATER
    assert failed.value.why == "the server answered 503 busy (request r1)"


def test_a_connection_that_breaks_is_made_again() -> None:
    with rough_server([hang_up, break_off, OK]) as server, Client(server.url) as client:
        assert client.stats() == {"total_devices": 1}


def test_a_wait_longer_than_the_patience_is_not_begun() -> None:
    later = problem("429 Too Many Requests", "rate_limited", "Retry-After: 3600")
    with rough_server([later]) as server, Client(server.url, timeout_s=60) as client:
        began = time.monotonic()
        with pytest.raises(ServerProblem) as failed:
            client.stats()
        assert len(server.requests) == 1
    assert time.monotonic() - began < 30
    assert failed.value.exit_code == ExitCode.TRY_LATER


def test_the_timeout_also_bounds_a_server_that_drips() -> None:
    with rough_server([drip]) as server, Client(server.url, timeout_s=0.5, tries=1) as client:
        began = time.monotonic()
        with pytest.raises(TryLater, match="in time"):
            client.stats()
    assert time.monotonic() - began < 30


def keys_of(requests: list[bytes]) -> list[str]:
    lines = [line for request in requests for line in request.decode().split("\r\n")]
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("idempotency-key")]


UNKNOWN = problem("503 Service Unavailable", "outcome_unknown", "Retry-After: 0")
RUNNING = problem("409 Conflict", "request_running")


@pytest.mark.parametrize("first", [BUSY, UNKNOWN, RUNNING])
def test_what_makes_something_is_sent_again_under_one_key(first: Behaviour) -> None:
    created = answer("201 Created", b'{"group_id": "grp_1"}')
    with rough_server([first, created]) as server, Client(server.url) as client:
        assert client.create_group({"name": "x", "kind": "site"}) == {"group_id": "grp_1"}
        keys = keys_of(server.requests)

    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_each_call_has_a_key_of_its_own() -> None:
    with rough_server([OK]) as server, Client(server.url) as client:
        client.create_group({"name": "x", "kind": "site"})
        client.create_group({"name": "x", "kind": "site"})
        client.stats()

        assert len(set(keys_of(server.requests))) == 2


def test_a_key_whose_secret_was_lost_is_named() -> None:
    done = problem("409 Conflict", "already_done")
    with rough_server([break_off, done]) as server, Client(server.url) as client:
        with pytest.raises(ServerProblem) as failed:
            client.create_key({"name": "x", "scopes": ["read"]})
        # The one whose answer broke off is not counted here.
        assert len(keys_of(server.requests)) == 1
    assert failed.value.problem["code"] == "already_done"


def test_a_batch_is_sent_again_with_the_same_id() -> None:
    stored = answer("200 OK", b'{"success": true, "ingested_count": 1, "total_count": 1}')
    with rough_server([break_off, BUSY, stored]) as server, Client(server.url) as client:
        client.send_batch("d", points=[{"value": 1}], batch_id="b1")
        bodies = {request.partition(b"\r\n\r\n")[2] for request in server.requests}
    assert bodies == {b'{"data_points":[{"value":1}],"batch_id":"b1"}'}


def test_a_batch_of_refused_points_is_an_answer() -> None:
    body = {"detail": "x", "code": "all_refused", "total_count": 1, "failed_count": 1, "errors": []}
    refused = answer("422 Unprocessable Entity", json.dumps(body).encode(), content_type=PROBLEM)
    with rough_server([refused]) as server, Client(server.url) as client:
        assert client.send_batch("d", points=[{}])["failed_count"] == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad Request", ExitCode.REFUSED),
        ("401 Unauthorized", ExitCode.NOT_ALLOWED),
        ("403 Forbidden", ExitCode.NOT_ALLOWED),
        ("404 Not Found", ExitCode.NOTHING),
        ("409 Conflict", ExitCode.REFUSED),
        ("413 Content Too Large", ExitCode.REFUSED),
        ("422 Unprocessable Entity", ExitCode.REFUSED),
        ("500 Internal Server Error", ExitCode.INTERNAL),
        ("302 Found", ExitCode.CONFIGURATION),
    ],
)
def test_each_status_has_its_exit_code(status: str, code: ExitCode) -> None:
    with (
        rough_server([problem(status, "x")]) as server,
        Client(server.url) as client,
        pytest.raises(Failure) as failed,
    ):
        client.stats()
    assert failed.value.exit_code == code
    assert failed.value.what == "It is so."


def test_a_page_of_html_is_named_but_not_shown() -> None:
    page = answer("502 Bad Gateway", b"<script>alert(1)</script>", content_type="text/html")
    with (
        rough_server([page]) as server,
        Client(server.url, tries=1) as client,
        pytest.raises(ServerProblem) as failed,
    ):
        client.stats()
    assert failed.value.what == "the server answered 502 with text/html instead of a reason"


@pytest.mark.parametrize("body", [b"", b"[]", b"hello", b"\xff"])
def test_a_success_that_is_no_json_object_is_somebody_elses(body: bytes) -> None:
    with (
        rough_server([answer("200 OK", body)]) as server,
        Client(server.url) as client,
        pytest.raises(ConfigurationFailure),
    ):
        client.stats()


def test_a_path_holds_whatever_a_device_is_called() -> None:
    with rough_server([OK]) as server, Client(server.url) as client:
        for device_id in ("a/b", "..", "ä ?#%", "x:y"):
            client.get_device(device_id)
        lines = [request.split(b"\r\n")[0].decode() for request in server.requests]
    paths = [line.split()[1].removeprefix("/api/v1/telemetry/devices/") for line in lines]
    assert paths == ["a%2Fb", "%2E%2E", "%C3%A4%20%3F%23%25", "x%3Ay"]


def test_the_log_of_requests_masks_secrets() -> None:
    lines: list[str] = []
    with rough_server([OK]) as server:
        client = Client(server.url, token="tlm_secret", log=lambda text, _: lines.append(text))
        client.stats()
        client.close()
        assert b"Bearer tlm_secret" in server.requests[0]
    assert any(line.startswith("GET /api/v1/telemetry/stats 200 ") for line in lines)
    assert "> authorization: …" in [line.lower() for line in lines]
    assert "tlm_secret" not in "".join(lines)


def test_a_proxy_is_not_asked_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with rough_server([OK]) as server, Client(server.url) as client:
        assert client.stats() == {"total_devices": 1}


REFUSED = problem("401 Unauthorized", "unauthenticated")


def test_a_token_that_is_refused_is_renewed_and_the_call_made_again() -> None:
    renewed: list[str] = []

    def renew(refused: str) -> str:
        renewed.append(refused)
        return "new"

    credential = Credential("old", renew)

    with rough_server([REFUSED, OK]) as server, Client(server.url, token=credential) as client:
        assert client.stats() == {"total_devices": 1}

    assert renewed == ["old"]
    assert [b"Bearer old" in r for r in server.requests] == [True, False]
    assert b"Bearer new" in server.requests[1]


@pytest.mark.parametrize(("newer", "requests"), [("new", 2), ("old", 1), (None, 1)])
def test_a_refusal_stands_when_no_newer_token_helps(newer: str | None, requests: int) -> None:
    credential = Credential("old", lambda _refused: newer)

    with rough_server([REFUSED]) as server, Client(server.url, token=credential) as client:
        with pytest.raises(ServerProblem) as failed:
            client.stats()
        assert len(server.requests) == requests
    assert failed.value.exit_code == ExitCode.NOT_ALLOWED


def test_an_export_is_asked_for_again_with_a_renewed_token() -> None:
    credential = Credential("old", lambda _refused: "new")

    with rough_server([REFUSED, OK]) as server, Client(server.url, token=credential) as client:
        with client.export_csv(metric_names="m") as response:
            assert response.read() == STATS
        assert b"Bearer new" in server.requests[1]


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(Credential("secret", lambda _refused: None))
