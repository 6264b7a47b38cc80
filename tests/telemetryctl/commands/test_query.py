"""`telemetryctl query` against prepared answers: rows, pages, buckets, pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import CommandLine
from rough_server import RoughServer, answer, rough_server

WINDOW = ("--since", "2026-11-20T10:00Z", "--until", "2026-11-20T14:00Z")


def page(values: list[float], *, hour: int = 10, next_cursor: str | None = None) -> bytes:
    points = [
        {
            "timestamp": f"2026-11-20T{hour + i:02d}:00:00Z",
            "device_id": "d",
            "metric_name": "m",
            "value": value,
            "unit": "celsius",
        }
        for i, value in enumerate(values)
    ]
    document = {
        "device_id": "d",
        "metric_name": "m",
        "data_points": points,
        "count": len(points),
        "truncated": next_cursor is not None,
        "next_cursor": next_cursor,
    }
    return answer("200 OK", json.dumps(document).encode())


def body(server: RoughServer, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.requests[number].split(b"\r\n\r\n", 1)[1])
    return found


def test_a_pipe_gets_tab_separated_rows_and_stderr_the_window(cli: CommandLine) -> None:
    with rough_server([page([1.5, 2])]) as server:
        done = cli.run("query", "m", "-d", "d", *WINDOW, "--tag", "a=b", "--server", server.url)

    assert done.code == 0
    assert done.out == (
        "timestamp\tdevice_id\tmetric_name\tvalue\tunit\ttags\n"
        "2026-11-20T10:00:00Z\td\tm\t1.5\tcelsius\t\n"
        "2026-11-20T11:00:00Z\td\tm\t2\tcelsius\t\n"
    )
    assert "window 2026-11-20T10:00:00Z .. 2026-11-20T14:00:00Z (4h)" in done.err
    assert body(server, 0) == {
        "metrics": ["m"],
        "devices": ["d"],
        "start_time": "2026-11-20T10:00:00Z",
        "end_time": "2026-11-20T14:00:00Z",
        "filters": {"tags": {"a": "b"}},
        "limit": 10000,
    }


def test_all_follows_the_pages(cli: CommandLine) -> None:
    pages = [page([1, 2], next_cursor="c1"), page([3], hour=12)]
    with rough_server(pages) as server:
        done = cli.run("query", "m", *WINDOW, "--all", "-o", "json", "--server", server.url)

    document = json.loads(done.out)
    assert [point["value"] for point in document["data_points"]] == [1, 2, 3]
    assert (document["count"], document["truncated"], document["next_cursor"]) == (3, False, None)
    assert body(server, 1)["cursor"] == "c1"


def test_a_cut_answer_says_so(cli: CommandLine) -> None:
    with rough_server([page([1, 2], next_cursor="c1")]) as server:
        done = cli.run("query", "m", *WINDOW, "--limit", "2", "--server", server.url)

    assert "cut after 2 points; --all reads the rest" in done.err
    assert body(server, 0)["limit"] == 2


def test_several_aggregations_stand_side_by_side(cli: CommandLine) -> None:
    with rough_server([page([1, 2]), page([5, 6])]) as server:
        done = cli.run(
            "query", "m", *WINDOW, "--agg", "avg,p95", "--every", "1h", "--server", server.url
        )

    assert done.out.splitlines() == [
        "timestamp\tdevice_id\tmetric_name\tavg\tp95\tunit",
        "2026-11-20T10:00:00Z\td\tm\t1\t5\tcelsius",
        "2026-11-20T11:00:00Z\td\tm\t2\t6\tcelsius",
    ]
    assert [body(server, i)["aggregation"] for i in range(2)] == ["avg", "p95"]
    assert body(server, 0)["interval"] == 3600


@pytest.mark.parametrize(("fill", "cells"), [("null", ["1", "", "", ""]), ("prev", ["1"] * 4)])
def test_empty_buckets_are_filled(cli: CommandLine, fill: str, cells: list[str]) -> None:
    with rough_server([page([1])]) as server:
        done = cli.run(
            "query", "m", *WINDOW, "--every", "1h", "--fill", fill, "--server", server.url
        )

    assert [line.split("\t")[3] for line in done.out.splitlines()[1:]] == cells


def test_a_spark_is_one_line_for_each_series(cli: CommandLine) -> None:
    with rough_server([page([1, 2, 4, 8])]) as server:
        done = cli.run("query", "m", *WINDOW, "--every", "1h", "--spark", "--server", server.url)

    assert done.out.splitlines() == [
        "device_id\tmetric_name\tunit\tmin\tavg\tmax\tlast\tspark",
        "d\tm\tcelsius\t1.0\t3.75\t8.0\t8.0\t▁▂▄█",
    ]


def test_a_plot_falls_back_to_ascii_where_blocks_would_become_question_marks(
    cli: CommandLine,
) -> None:
    with rough_server([page([1, 2, 4, 8])]) as server:
        options = ["query", "m", *WINDOW, "--every", "1h", "--plot", "--server", server.url]
        fine = cli.run(*options, COLUMNS="60")
        plain = cli.run(*options, PYTHONIOENCODING="ascii", COLUMNS="60")

    assert "d  avg m (celsius)" in fine.out
    assert "⡀" in fine.out or "⠤" in fine.out or "⠔" in fine.out
    assert plain.out.isascii()
    assert "*" in plain.out
    assert "?" not in plain.out


def test_an_empty_window_is_told_and_may_be_the_exit_code(cli: CommandLine) -> None:
    with rough_server([page([])]) as server:
        done = cli.run("query", "m", *WINDOW, "--server", server.url)
        failed = cli.run("query", "m", *WINDOW, "--fail-empty", "--server", server.url)

    assert (done.code, failed.code) == (0, 3)
    assert "no points in the window" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--agg", "mode"],
        ["--every", "1.5s"],
        ["--fill", "null"],
        ["--every", "1h", "--fill", "linear"],
        ["--limit", "0"],
        ["--tag", "room"],
        ["--since", "now"],
    ],
)
def test_options_that_make_no_sense_are_usage_errors(cli: CommandLine, options: list[str]) -> None:
    done = cli.run("query", "m", *options, "--server", "http://127.0.0.1:9")

    assert done.code == 2
