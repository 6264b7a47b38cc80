"""The newest values on the command line, once and again and again."""

from __future__ import annotations

import json

import pexpect
from command_line import PROGRAM, TIMEOUT_S, CommandLine


def test_the_newest_values_are_a_row_each(cli: CommandLine) -> None:
    cli.run("write", "newest", "speed=1", "--time", "10m")
    cli.run("write", "newest", "speed=2", "doors=open", "--unit", "speed=mph")

    result = cli.run("latest", "newest", "--fields", "device_id,metric_name,value,unit")

    assert result.code == 0
    assert sorted(result.out.splitlines()[1:]) == ["newest\tdoors\topen\t", "newest\tspeed\t2\tmph"]


def test_a_metric_can_be_named_after_the_devices_or_by_option(cli: CommandLine) -> None:
    cli.run("write", "named", "speed=1", "doors=open")

    for arguments in (["named", "speed"], ["named", "-m", "speed"]):
        result = cli.run("latest", *arguments, "-o", "json")
        document = json.loads(result.out)
        assert list(document["latest"]["named"]) == ["speed"]
        assert (document["missing"], document["count"], result.err) == ([], 1, "")


def test_a_device_without_values_is_named_on_stderr(cli: CommandLine) -> None:
    cli.run("write", "found", "speed=1")

    result = cli.run("latest", "found", "nobody-knows", "-o", "jsonl")

    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert result.err == "no values: nobody-knows\n"


def test_nothing_there_is_3(cli: CommandLine) -> None:
    cli.run("write", "old", "speed=1", "--time", "3h")

    assert cli.run("latest", "nobody-knows").code == 3
    assert cli.run("latest", "old", "--lookback", "1h").code == 3
    assert cli.run("latest", "old", "--lookback", "4h").code == 0


def test_more_devices_than_a_request_takes_are_asked_in_parts(cli: CommandLine) -> None:
    cli.run("write", "part-0", "speed=1")
    cli.run("write", "part-249", "speed=1")

    result = cli.run("latest", *(f"part-{n}" for n in range(250)), "-o", "json", "-q")

    document = json.loads(result.out)
    assert sorted(document["latest"]) == ["part-0", "part-249"]
    assert len(document["missing"]) == 248


def test_no_devices_are_a_usage_error(cli: CommandLine) -> None:
    assert cli.run("latest").code == 2
    assert cli.run("latest", "x", "--watch", "1ms").code == 2
    assert cli.run("latest", "x", "--lookback", "1y").code == 2


def test_a_watch_shows_new_values_until_ctrl_c(cli: CommandLine) -> None:
    cli.run("write", "watched", "speed=111")
    child: pexpect.spawn[str] = pexpect.spawn(
        PROGRAM,
        ["latest", "watched", "--watch", "200ms"],
        env=cli.environment(TERM="xterm"),
        encoding="utf-8",
        timeout=TIMEOUT_S,
        dimensions=(24, 100),
    )
    child.expect_exact("111")

    cli.run("write", "watched", "speed=222")

    child.expect_exact("222")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in (child.before or "")


def test_a_watch_in_a_pipe_is_one_document_after_the_other(cli: CommandLine) -> None:
    cli.run("write", "piped", "speed=1")

    result = cli.run_shell("$T latest piped --watch 100ms -o json | head -3")

    assert [json.loads(line)["count"] for line in result.out.splitlines()] == [1, 1, 1]
