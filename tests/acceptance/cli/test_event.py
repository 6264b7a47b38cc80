"""Events at the command line, with a real daemon."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from command_line import PROGRAM, CommandLine
from daemons import start_daemon
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer
from tails import running


def document(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    result = cli.run(*arguments, "-o", "json")
    assert result.code == 0, result.err
    read: dict[str, Any] = json.loads(result.out)
    return read


def tailing(cli: CommandLine, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "event", "tail", *arguments],
        env=cli.environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_what_is_told_is_listed_and_shown(cli: CommandLine) -> None:
    told = document(
        cli, "event", "create", "deploy.done", "version 7", "--severity", "warning",
        "--subject", "shop", "--data", '{"by": "ana"}', "--at", "2025-12-18T10:00:00Z",
    )  # fmt: skip

    listed = document(cli, "event", "ls", "--type", "deploy.done", "--severity", "warning")
    lines = cli.run("event", "ls", "--type", "deploy.done")
    shown = document(cli, "event", "get", told["event_id"])

    assert told["timestamp"] == "2025-12-18T10:00:00Z"
    assert (told["subject"], told["data"]) == ("shop", {"by": "ana"})
    assert listed["events"] == [told]
    assert shown == told
    assert lines.out.splitlines() == [
        "timestamp\tseverity\ttype\tsubject\tmessage",
        "2025-12-18T10:00:00Z\twarning\tdeploy.done\tshop\tversion 7",
    ]


def test_a_definition_is_an_event(cli: CommandLine) -> None:
    cli.run("metric", "create", "level", "--unit", "m")

    (event,) = document(cli, "event", "ls", "--type", "metric.defined", "-n", "1")["events"]

    assert (event["subject"], event["data"]["unit"]) == ("level", "m")


def test_the_list_goes_on_behind_a_cursor(cli: CommandLine) -> None:
    cursor = document(cli, "event", "ls", "-n", "1")["cursor"]
    for at in range(3):
        cli.run("event", "create", "step", str(at))

    rest = document(cli, "event", "ls", "--after", cursor)

    assert [event["message"] for event in rest["events"]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "metric.defined"), 5),
        (("create", "two words"), 5),
        (("create", "x", "--data", "[]"), 2),
        (("get", "evt_0"), 3),
        (("ls", "--severity", "bad"), 5),
        (("ls", "--after", "nonsense"), 5),
        (("tail", "-o", "json"), 2),
    ],
)
def test_what_makes_no_sense_is_said(
    cli: CommandLine, arguments: tuple[str, ...], code: int
) -> None:
    result = cli.run("event", *arguments)

    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ")


def test_a_tail_shows_events_as_they_come(cli: CommandLine) -> None:
    cursor = document(cli, "event", "ls", "-n", "1")["cursor"]
    with tailing(cli, "--after", cursor, "--type", "tick", "-n", "3", "-o", "jsonl") as tail:
        for at in range(3):
            cli.run("event", "create", "tick", str(at))
            cli.run("event", "create", "tock", str(at))
        out, _ = tail.communicate(timeout=100)

    assert tail.returncode == 0
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["0", "1", "2"]


def test_a_tail_ends_in_time(cli: CommandLine) -> None:
    result = cli.run("event", "tail", "--for", "1s", "--type", "never")

    assert (result.code, result.out) == (0, "")


@pytest.mark.anyio
async def test_a_tail_outlives_its_daemon(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    port = str(free_port())
    first = start_daemon(dsn, server__port=port)
    cli = CommandLine(first.home, first.environment)
    cursor = document(cli, "event", "ls", "-n", "1")["cursor"]
    asked = ["--after", cursor, "-n", "2", "-o", "jsonl", "--timeout", "2s"]
    with running([PROGRAM, "event", "tail", *asked], cli.environment()) as tail:
        cli.run("event", "create", "before")
        tail.wait_for_lines(1)
        first.kill()
        tail.wait_for_word("trying again in")
        again = start_daemon(dsn, home=first.home, key=first.key, server__port=port)
        cli.run("event", "create", "after")
        tail.end()
        again.stop()

    assert [json.loads(line)["type"] for line in tail.out] == ["before", "after"], tail.err
