"""Commands that run for longer than an access token: the login is renewed while they do."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest
from command_line import PROGRAM, CommandLine
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer
from tails import WITHIN_S, Tail, is_listening, running, send, tailing

PASSWORD = "correct horse battery staple"
SECRETS = ("a secret that signs the first tokens", "another one, which signs all further tokens")


@pytest.fixture
def served(postgres: PostgresServer) -> tuple[str, DaemonProcess, str]:
    """A daemon, and what starts it again where it was."""
    dsn, port = asyncio.run(fresh_database(postgres)), str(free_port())
    return dsn, start_daemon(dsn, auth__jwt_secret=SECRETS[0], server__port=port), port


def logged_in(daemon: DaemonProcess, home: Path) -> CommandLine:
    daemon.cli("account", "create", "ann", "--password-stdin", stdin=PASSWORD)
    user = CommandLine(home)
    words = ("--name", "work", "--username", "ann", "--password-stdin")
    assert user.run("login", daemon.url, *words, stdin=PASSWORD + "\n").code == 0
    return user


def test_a_token_that_is_refused_half_way_is_renewed_and_nothing_is_missed(
    served: tuple[str, DaemonProcess, str], tmp_path: Path
) -> None:
    """All tokens end at once when the secret that signed them is replaced; sessions go on."""
    dsn, daemon, port = served
    user = logged_in(daemon, tmp_path)
    doors = {name: ("--transport", name, "-m", "m,ping") for name in ("ws", "sse", "poll")}
    home = user.environment()
    with (
        running([PROGRAM, "top", "--interval", "1s", "-o", "jsonl"], home) as top,
        tailing(daemon, *doors["ws"], environ=home) as ws,
        tailing(daemon, *doors["sse"], environ=home) as sse,
        tailing(daemon, *doors["poll"], environ=home) as poll,
    ):
        tails = (ws, sse, poll)
        for tail in tails:
            is_listening(tail, daemon, device="d")
        top.wait_for_lines(1)
        daemon.stop()
        again = start_daemon(
            dsn, home=daemon.home, key=daemon.key, auth__jwt_secret=SECRETS[1],
            server__port=port,
        )  # fmt: skip
        with again.http() as http:
            send(http, "d", "m", list(range(5)))
        for tail in tails:
            tail.wait(partial(_has_all, tail), "all points", WITHIN_S)
        shown = len(top.out)
        with again.http() as http:

            def has_more() -> bool:
                # Rates are of the last seconds.
                send(http, "d", "load", [1])
                return len(top.out) > shown + 2

            top.wait(has_more, "rates again", WITHIN_S)

        assert [tail.process.poll() for tail in (*tails, top)] == [None] * 4
        again.stop()


def _has_all(tail: Tail) -> bool:
    points = [json.loads(line) for line in tail.out]
    return [point["value"] for point in points if point["metric_name"] == "m"] == list(range(5))
