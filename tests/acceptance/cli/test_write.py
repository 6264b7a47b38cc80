"""Sending points from the command line to a real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from daemons import DaemonProcess

from telemetryctl import times


def lines_of(*points: dict[str, object]) -> str:
    return "".join(json.dumps(point) + "\n" for point in points)


def a_point(**members: object) -> dict[str, object]:
    stamp = times.format_rfc3339(times.now())
    return {"timestamp": stamp, "metric_name": "t", "value": 1, **members}


def count_of(daemon: DaemonProcess, device_id: str) -> int:
    with daemon.http() as http:
        count: int = http.get(f"/devices/{device_id}/stats").json()["data_points_count"]
    return count


def test_typed_points_are_stored(cli: CommandLine, daemon: DaemonProcess) -> None:
    result = cli.run("write", "typed", "speed=31.5", "doors=open", "--unit", "speed=mph")

    assert (result.code, result.out, result.err) == (0, "", "2 points stored\n")
    assert count_of(daemon, "typed") == 2


def test_a_dry_run_stores_nothing(cli: CommandLine, daemon: DaemonProcess) -> None:
    result = cli.run("write", "dry", "speed=31.5", "--dry-run", "-o", "json")

    assert json.loads(result.out) == {"ingested_count": 1, "failed_count": 0, "total_count": 1}
    assert count_of(daemon, "dry") == 0


def test_some_refused_points_are_6_and_end_up_in_the_errors_file(
    cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
) -> None:
    points = lines_of(
        a_point(device_id="some"),
        a_point(device_id="some", metric_name="no good"),
        a_point(device_id="other", value=2),
    )
    refused = tmp_path / "refused.jsonl"

    result = cli.run("write", "-f", "-", "--errors-file", str(refused), stdin=points + "not json\n")

    assert result.code == 6
    assert "error: 2 of 4 points stored (2 refused: 1 bad_row, 1 bad_name" in result.err
    rows = {row["error_line"]: row for row in map(json.loads, refused.read_text().splitlines())}
    assert rows[2]["error_code"] == "bad_name"
    assert rows[2]["metric_name"] == "no good"
    assert rows[4]["error_code"] == "bad_row"
    assert count_of(daemon, "some") == count_of(daemon, "other") == 1


def test_all_refused_points_are_5(cli: CommandLine) -> None:
    result = cli.run("write", "nobody", "no good=1", "-q")

    assert result.code == 5
    assert result.err.startswith("error: 0 of 1 points stored (1 refused: 1 bad_name)\nhint: ")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
def test_points_can_travel_packed(
    cli: CommandLine, daemon: DaemonProcess, compression: str, tmp_path: Path
) -> None:
    path = tmp_path / "points.jsonl"
    base = times.now().timestamp()
    path.write_text(lines_of(*(a_point(timestamp=base - i, value=i) for i in range(2_500))))

    result = cli.run("write", "-f", str(path), "--device", compression, "--compress", compression)

    assert result.err == "2,500 points stored\n"
    assert count_of(daemon, compression) == 2_500


def test_the_same_prefix_and_file_store_nothing_twice(
    cli: CommandLine, daemon: DaemonProcess
) -> None:
    points = lines_of(a_point(value=1), a_point(metric_name="u"))
    arguments = ("write", "-f", "-", "--device", "twice", "--batch-id-prefix", "nightly")

    first = cli.run(*arguments, stdin=points)
    second = cli.run(*arguments, stdin=points)

    assert first.err == second.err == "2 points stored\n"
    assert count_of(daemon, "twice") == 2


def test_a_prefix_with_other_points_is_refused(cli: CommandLine) -> None:
    arguments = ("write", "-f", "-", "--device", "reused", "--batch-id-prefix", "reused")
    cli.run(*arguments, stdin=lines_of(a_point(value=1)))

    result = cli.run(*arguments, stdin=lines_of(a_point(value=2)))

    assert result.code == 5
    assert "batch_id_reused" in result.err


def test_a_number_that_is_not_finite_fails_alone(cli: CommandLine, daemon: DaemonProcess) -> None:
    stamp = times.format_rfc3339(times.now())
    bad = f'{{"timestamp": "{stamp}", "metric_name": "t", "value": NaN}}\n'

    result = cli.run("write", "-f", "-", "--device", "finite", stdin=bad + lines_of(a_point()))

    assert result.code == 6
    assert "1 not_finite" in result.err
    assert count_of(daemon, "finite") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["device"],
        ["device", "speed"],
        ["device", "speed=1", "-f", "-"],
        ["-f", "-", "--format", "xml"],
        ["-f", "-", "--compress", "rar"],
        ["-f", "-", "--token-stdin"],
        ["-f", "/no/such/file"],
        ["device", "speed=1", "--time", "soon"],
        ["device", "speed=1", "--unit", "other=mph"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(cli: CommandLine, arguments: list[str]) -> None:
    result = cli.run("write", *arguments)

    assert result.code == 2, result.err
    assert result.out == ""
