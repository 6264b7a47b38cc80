"""`telemetryctl export csv` against a server that says prepared things: gaps, breaks, nothing."""

from __future__ import annotations

import fcntl
import gzip
import json
from pathlib import Path

import pytest
from command_line import CommandLine
from rough_server import RoughServer, answer, rough_server

HEADER = "timestamp,device_id,metric_name,value,unit,tags\n"
ROWS = [f"2026-11-2{n}T10:00:00Z,d,m,{n},celsius,\n" for n in range(3)]
NOTHING = {"detail": "No point.", "status": 404, "code": "not_found", "next_cursor": None}
NO_ROWS = answer(
    "404 Not Found", json.dumps(NOTHING).encode(), content_type="application/problem+json"
)


def export_answer(rows: list[str], *headers: str) -> bytes:
    body = "".join([HEADER, *rows]).encode()
    return answer("200 OK", body, *headers, content_type="text/csv")


def broken_answer(rows: list[str]) -> bytes:
    """A chunked answer that stops in the middle of a row."""
    body = "".join([HEADER, *rows, "2026-11-"]).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + f"{len(body):x}\r\n".encode() + body + b"\r\n"


def request_line(server: RoughServer, number: int) -> str:
    return server.requests[number].split(b"\r\n")[0].decode()


def test_a_window_goes_to_stdout_and_the_note_to_stderr(cli: CommandLine) -> None:
    with rough_server([export_answer(ROWS)]) as server:
        done = cli.run("export", "csv", "-m", "m", "--since", "3d", "--server", server.url)

    assert done.code == 0
    assert done.out == HEADER + "".join(ROWS)
    assert "exported 3 rows" in done.err
    assert "raw=true" in request_line(server, 0)


def test_excel_safe_leaves_the_quoting_to_the_server(cli: CommandLine) -> None:
    with rough_server([export_answer(ROWS)]) as server:
        cli.run("export", "csv", "--since", "3d", "--excel-safe", "--server", server.url)

    assert "raw" not in request_line(server, 0)


def test_nothing_is_exit_code_3_without_an_error_and_without_a_file(cli: CommandLine) -> None:
    target = cli.home / "a.csv"
    with rough_server([NO_ROWS]) as server:
        done = cli.run("export", "csv", "--since", "3d", "-O", str(target), "--server", server.url)

    assert (done.code, done.out) == (3, "")
    assert "error" not in done.err
    assert list(cli.home.glob("*.csv*")) == []


def test_a_quiet_run_with_nothing_new_prints_nothing(cli: CommandLine) -> None:
    with rough_server([NO_ROWS]) as server:
        done = cli.run(
            *("export", "csv", "--incremental", "--state", str(cli.home / "s.json"), "-q"),
            *("-O", str(cli.home / "a.csv"), "--server", server.url),
        )

    assert (done.code, done.out, done.err) == (3, "", "")


def test_a_server_without_this_route_is_an_error_and_not_nothing_new(cli: CommandLine) -> None:
    problem = json.dumps({"detail": "No such path.", "status": 404, "code": "not_found"}).encode()
    refusal = answer("404 Not Found", problem, content_type="application/problem+json")
    with rough_server([refusal]) as server:
        done = cli.run("export", "csv", "--since", "3d", "--server", server.url)

    assert done.code == 5
    assert "error: the export failed: No such path." in done.err


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_broken_transfer_goes_on_after_the_last_whole_row(cli: CommandLine, name: str) -> None:
    target = cli.home / name
    behaviours = [broken_answer(ROWS[:2]), export_answer(ROWS)]
    with rough_server(behaviours) as server:
        done = cli.run("export", "csv", "--since", "3d", "-O", str(target), "--server", server.url)

    content = target.read_bytes()
    assert done.code == 0
    assert "exported 3 rows to 1 file" in done.err
    assert (gzip.decompress(content) if name.endswith("gz") else content).decode() == (
        HEADER + "".join(ROWS)
    )


def test_a_transfer_that_stays_broken_leaves_no_file(cli: CommandLine) -> None:
    target = cli.home / "a.csv"
    with rough_server([broken_answer(ROWS[:1])]) as server:
        done = cli.run("export", "csv", "--since", "3d", "-O", str(target), "--server", server.url)

    assert done.code == 75
    assert [path for path in cli.home.iterdir() if path.is_file()] == []


def test_incremental_runs_ask_for_what_follows_the_last_one(cli: CommandLine) -> None:
    state, target = cli.home / "s.json", cli.home / "all.csv"
    behaviours = [
        export_answer(ROWS[:2], "X-Next-Cursor: e-2"),
        export_answer(ROWS[2:], "X-Next-Cursor: e-3"),
    ]
    with rough_server(behaviours) as server:
        for _ in range(2):
            cli.run(
                *("export", "csv", "--incremental", "--state", str(state), "--settle", "5m"),
                *("-O", str(target), "--server", server.url),
            )

    assert "settle_s=300&after= HTTP" in request_line(server, 0)
    assert "settle_s=300&after=e-2 HTTP" in request_line(server, 1)
    assert target.read_text() == HEADER + "".join(ROWS)
    assert json.loads(state.read_text())["cursor"] == "e-3"


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 7)])
def test_a_gap_is_told_and_strict_makes_it_the_exit_code(
    cli: CommandLine, options: list[str], code: int
) -> None:
    target = cli.home / "all.csv"
    gap = export_answer(ROWS, "X-Next-Cursor: e-9", "X-Gap: e-1..e-5")
    with rough_server([gap]) as server:
        done = cli.run(
            *("export", "csv", "--incremental", "--state", str(cli.home / "s.json"), *options),
            *("-O", str(target), "--server", server.url),
        )

    assert done.code == code
    assert "gap e-1..e-5" in done.err
    assert target.read_text() == HEADER + "".join(ROWS)
    manifest = json.loads((cli.home / "all.csv.manifest.json").read_text())
    assert manifest["portions"][0]["gap"] == "e-1..e-5"


def test_two_runs_with_one_state_do_not_overlap(cli: CommandLine) -> None:
    with (cli.home / "s.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cli.run(
            *("export", "csv", "--incremental", "--state", str(cli.home / "s.json")),
            *("-O", str(cli.home / "a.csv"), "--server", "http://127.0.0.1:9"),
        )

    assert done.code == 75
    assert "another export is at work" in done.err


@pytest.mark.parametrize("other", [["-m", "other"], ["-m", "m", "--group", "g"]])
def test_a_state_of_another_selection_is_refused(cli: CommandLine, other: list[str]) -> None:
    options = ["--incremental", "--state", str(cli.home / "s.json"), "-O", str(cli.home / "a.csv")]
    with rough_server([export_answer(ROWS, "X-Next-Cursor: e-3")]) as server:
        cli.run("export", "csv", *options, "-m", "m", "--server", server.url)
        done = cli.run("export", "csv", *options, *other, "--server", server.url)

    assert done.code == 2
    assert "other devices or metrics" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--since is needed"),
        (["--incremental"], "needs --state"),
        (["--incremental", "--state", "s", "--since", "1d"], "no --since"),
        (["--since", "1d", "--split", "1d", "-O", "a.csv"], "--split needs a pattern"),
        (["--since", "1d", "--split", "1d"], "--split needs a pattern"),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    cli: CommandLine, options: list[str], said: str
) -> None:
    done = cli.run("export", "csv", *options, "--server", "http://127.0.0.1:9")

    assert done.code == 2
    assert said in done.err


def test_an_answer_that_is_no_export_is_not_written(cli: CommandLine) -> None:
    with rough_server([answer("200 OK", b"<html>", content_type="text/html")]) as server:
        done = cli.run(
            *("export", "csv", "--since", "1d", "-O", str(cli.home / "a.csv")),
            *("--server", server.url),
        )

    assert done.code == 75
    assert not (cli.home / "a.csv").exists()


def test_the_state_and_files_are_found_in_the_home_of_a_tilde(cli: CommandLine) -> None:
    with rough_server([export_answer(ROWS, "X-Next-Cursor: e-3")]) as server:
        done = cli.run(
            *("export", "csv", "--incremental", "--state", "~/x/s.json", "-O", "~/y/a.csv"),
            *("--server", server.url),
        )

    assert done.code == 0
    assert (cli.home / "x" / "s.json").exists()
    assert Path(cli.home / "y" / "a.csv").read_text().startswith(HEADER)


def test_a_device_is_written_to_and_not_replaced(cli: CommandLine) -> None:
    with rough_server([export_answer(ROWS)]) as server:
        done = cli.run(
            *("export", "csv", "--since", "3d", "-O", "/dev/stdout", "--server", server.url)
        )

    assert done.out == HEADER + "".join(ROWS)
    assert Path("/dev/stdout").is_symlink()


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(cli: CommandLine) -> None:
    real, link = cli.home / "real.csv", cli.home / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    with rough_server([export_answer(ROWS)]) as server:
        cli.run("export", "csv", "--since", "3d", "-O", str(link), "--server", server.url)

    assert link.is_symlink()
    assert real.read_text() == HEADER + "".join(ROWS)


def test_a_folder_as_a_target_is_a_usage_error(cli: CommandLine) -> None:
    done = cli.run("export", "csv", "--since", "3d", "-O", str(cli.home))

    assert done.code == 2
    assert "is a folder" in done.err
