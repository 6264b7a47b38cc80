"""Channels and silences of a user, with a real daemon and a receiver that listens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Result
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from receivers import Sink, http_sink
from servers import PostgresServer


@pytest.fixture(scope="module")
def daemon(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    """A daemon whose channels may reach this host."""
    process = start_daemon(
        asyncio.run(fresh_database(postgres)), notifications__allow_hosts='["127.0.0.1"]'
    )
    yield process
    process.stop()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


def read(result: Result) -> Any:
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_channel_is_made_tried_changed_and_deleted(cli: CommandLine, sink: Sink) -> None:
    made = read(
        cli.run("channel", "create", "ops", "--kind", "webhook", "--url", sink.url, "-o", "json")
    )
    tested = read(cli.run("channel", "test", "ops", "-o", "json"))
    listed = cli.run("channel", "ls", "--fields", "name,kind,failures")
    shown = cli.run("channel", "get", "ops", "-o", "json")
    edited = read(cli.run("channel", "edit", "ops", "--url", f"{sink.url}/new", "-o", "json"))
    cli.run("channel", "test", "ops")
    gone = cli.run("channel", "delete", "ops", "--yes")
    missing = cli.run("channel", "get", "ops")

    assert made["secret"].startswith("whsec_")
    assert tested["success"]
    assert sink.requests[0].is_signed_with(made["secret"])
    assert sink.requests[1].path == "/new"
    assert sink.requests[1].is_signed_with(made["secret"])
    assert listed.out == "name\tkind\tfailures\nops\twebhook\t0\n"
    assert "whsec_" not in shown.out
    assert edited["url"].endswith("/new")
    assert gone.code == 0
    assert missing.code == 3


def test_a_test_that_does_not_arrive_says_why_and_exits_6(cli: CommandLine, sink: Sink) -> None:
    sink.answer = lambda request: (503, {}, b"")
    cli.run("channel", "create", "down", "--kind", "webhook", "--url", sink.url)

    tested = cli.run("channel", "test", "down")

    assert tested.code == 6
    assert "answered 503" in tested.err


def test_secrets_come_from_files_and_never_from_arguments(
    cli: CommandLine, sink: Sink, tmp_path: Path
) -> None:
    file = tmp_path / "hook"
    file.write_text(f"{sink.url}/T0/B0/token\n")

    made = cli.run("channel", "create", "chat", "--kind", "slack", "--url-file", str(file))
    piped = cli.run("channel", "edit", "chat", "--url-file", "-", stdin=f"{sink.url}/T0/B0/other\n")
    tested = cli.run("channel", "test", "chat")

    assert (made.code, piped.code, tested.code) == (0, 0, 0)
    assert sink.requests[0].path == "/T0/B0/other"
    assert "token" not in made.out + made.err


def test_an_address_of_a_private_network_is_refused_at_once(cli: CommandLine) -> None:
    for url in ("https://10.0.0.1/", "https://[::1]/", "http://example.com/"):
        refused = cli.run("channel", "create", "in", "--kind", "webhook", "--url", url)

        assert refused.code == 5
        assert "address_not_allowed" in refused.err


def test_the_log_shows_what_was_given_up_and_retry_sends_it_again(
    cli: CommandLine, sink: Sink
) -> None:
    sink.answer = lambda request: (410, {}, b"")
    cli.run("channel", "create", "late", "--kind", "webhook", "--url", sink.url)
    cli.run("channel", "test", "late")
    dead = read(cli.run("channel", "log", "late", "--status", "dead", "-o", "json"))
    message = dead["notifications"][0]["notification_id"]
    sink.answer = lambda request: (200, {}, b"")

    retried = cli.run("channel", "retry", message)
    sink.wait_for(2)
    deadline = time.monotonic() + 100
    while "sent" not in (row := cli.run("channel", "log", "late", "--fields", "status").out):
        assert time.monotonic() < deadline, row

    assert retried.code == 0
    assert [request.webhook_id for request in sink.requests] == [message, message]
    assert dead["notifications"][0]["ledger"][0]["status_code"] == 410
    assert cli.run("channel", "retry", message).code == 5


def test_a_silence_is_made_changed_and_ended(cli: CommandLine) -> None:
    made = read(
        cli.run(
            "silence", "add", "device=oven", "level=info,warning", "--for", "2h", "-m", "works",
            "-o", "json",
        )
    )  # fmt: skip
    silence = made["silence_id"]
    listed = cli.run("silence", "ls", "--fields", "silence_id,state,comment")
    edited = read(cli.run("silence", "edit", silence, "--for", "4h", "-o", "json"))
    ended = cli.run("silence", "expire", silence)
    again = cli.run("silence", "expire", silence)
    left = cli.run("silence", "ls", "--ids")
    over = read(cli.run("silence", "ls", "--expired", "-o", "json"))

    assert made["matchers"] == {"device_id": "oven", "level": ["info", "warning"]}
    assert f"{silence}\tactive\tworks" in listed.out
    assert edited["ends_at"] > made["ends_at"]
    assert ended.code == 0
    assert again.code == 5
    assert silence not in left.out
    assert over["silences"][0]["state"] == "expired"


def test_a_matcher_that_is_none_is_a_mistake_on_the_command_line(cli: CommandLine) -> None:
    for arguments in (["oven", "--for", "2h"], ["device=oven"], ["colour=red", "--for", "2h"]):
        assert cli.run("silence", "add", *arguments).code == 2
