"""`telemetryctl import`: what it refuses before it sends anything, and where it keeps its state."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine
from rough_server import answer, rough_server

NOWHERE = ("--server", "http://127.0.0.1:9", "--timeout", "2s")
STORED = answer("200 OK", json.dumps({"success": True, "ingested_count": 2, "errors": []}).encode())
ROWS = "timestamp,device,m\n1766052000,d,1\n1766052001,d,2\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map", "m"], "is not TARGET=SOURCE"),
        (["--map", "m=speed"], "no column 'speed' (columns: timestamp, device, m)"),
        (["--map", "m=m", "--batch", "0"], "--batch is"),
        (["--map", "m=m", "--jobs", "99"], "--jobs is"),
        (["--map", "m=m", "--rate", "fast"], "is not a rate"),
        (["--map", "m=m", "--compress", "rar"], "is not one of"),
        (["--map", "m=m", "--format", "xml"], "is not one of"),
        (["--map", "m=m", "--tag", "room"], "is not KEY=VALUE"),
        (["--map", "m=m", "--name", "{place}"], "only {device} and {metric}"),
        (["--map", "m=m", "--errors-file", "a.csv"], "one of the files to import"),
        (["--map", "m=m", "--shift-to", "someday"], "is not a time"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    cli: CommandLine, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.home)
    (cli.home / "a.csv").write_text(ROWS)

    done = cli.run("import", "a.csv", *options, *NOWHERE)

    assert done.code == 2
    assert said in done.err


def test_a_missing_file_is_named(cli: CommandLine) -> None:
    done = cli.run("import", "/nowhere/a.csv", *NOWHERE)

    assert done.code == 2
    assert "/nowhere/a.csv: No such file" in done.err


def test_no_file_is_sent_when_another_can_not_be_read(cli: CommandLine) -> None:
    (cli.home / "a.csv").write_text(ROWS)
    (cli.home / "b.csv").write_text("when,device,m\n1766052000,d,1\n")
    files = [str(cli.home / "a.csv"), str(cli.home / "b.csv")]
    with rough_server([STORED]) as server:
        done = cli.run("import", *files, "--map", "m=m", "--server", server.url)

    assert done.code == 2
    assert "b.csv can't be read with this mapping: no column holds the time" in done.err
    assert server.requests == []


def test_an_unreachable_server_is_exit_75_at_once(cli: CommandLine) -> None:
    (cli.home / "a.csv").write_text(ROWS)

    done = cli.run("import", str(cli.home / "a.csv"), "--map", "m=m", *NOWHERE)

    assert done.code == 75


def test_standard_input_is_json_lines_unless_said_otherwise(cli: CommandLine) -> None:
    row = {"timestamp": 1766052000, "device_id": "d", "metric_name": "m", "value": 1}
    with rough_server([STORED]) as server:
        plain = cli.run(
            *("import", "-", "--compress", "none", "--server", server.url), stdin=json.dumps(row)
        )
        as_csv = cli.run(
            *("import", "-", "--format", "csv", "--map", "m=m", "--server", server.url), stdin=ROWS
        )

    assert (plain.code, as_csv.code) == (0, 0)
    assert b'"values":[1]' in server.requests[0]
    assert not (cli.home / "state").exists()


def test_a_home_that_can_not_be_written_does_not_stop_an_import(cli: CommandLine) -> None:
    (cli.home / "a.csv").write_text(ROWS)
    (cli.home / "state").write_text("a file where the folder would be")
    with rough_server([STORED]) as server:
        command = ["import", str(cli.home / "a.csv"), "--map", "m=m", "--server", server.url]
        done = cli.run(*command)
        resumed = cli.run(*command, "--resume")

    assert done.code == 0
    assert "2 points of 2 rows stored" in done.err
    assert resumed.code == 2
    assert "no state can be kept" in resumed.err


def test_a_file_that_another_took_the_place_of_is_not_resumed(cli: CommandLine) -> None:
    path = cli.home / "a.csv"
    path.write_text(ROWS)
    with rough_server([STORED]) as server:
        command = ["import", str(path), "--map", "m=m", "--server", server.url]
        cli.run(*command)
        path.write_text(ROWS.replace("1766052000", "1766059999"))
        done = cli.run(*command, "--resume")

    assert done.code == 2
    assert "is not the file that was imported" in done.err


def test_rows_without_a_value_are_counted(cli: CommandLine) -> None:
    (cli.home / "a.csv").write_text(ROWS + "1766052002,d,\n")
    with rough_server([STORED]) as server:
        done = cli.run("import", str(cli.home / "a.csv"), "--map", "m=m", "--server", server.url)

    assert "2 points of 3 rows stored" in done.err
    assert "1 rows have no value" in done.err
