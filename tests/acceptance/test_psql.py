"""`telemetryd db psql` on an embedded database whose daemon does not run: the server is there while
psql is."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import _environment
from embedded import postmasters_of

TELEMETRYD = str(Path(sys.executable).parent / "telemetryd")
WAIT_S = 120.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """That of a host with an embedded database, which no daemon serves."""
    home = tmp_path_factory.mktemp("home")
    data_dir = home / "data"
    named = {"TELEMETRY_DATABASE__URL": "embedded", "TELEMETRY_DATABASE__DATA_DIR": str(data_dir)}
    yield _environment(home) | named
    assert postmasters_of(data_dir) == []


def psql(
    environment: dict[str, str], *arguments: str, said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TELEMETRYD, "db", "psql", *arguments],
        env=environment, input=said, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip


def is_stopped(environment: dict[str, str]) -> bool:
    return postmasters_of(Path(environment["TELEMETRY_DATABASE__DATA_DIR"])) == []


def test_psql_answers_and_the_server_stops_behind_it(environment: dict[str, str]) -> None:
    done = psql(environment, "-At", "-c", "select 40 + 2")
    piped = psql(environment, "-At", said="select 40 + 3;\n")

    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert (piped.returncode, piped.stdout) == (0, "43\n"), piped.stderr
    assert is_stopped(environment)


def test_its_exit_code_is_that_of_psql(environment: dict[str, str]) -> None:
    wrong = psql(environment, "-c", "select 1 / 0")
    stopped = psql(environment, "-v", "ON_ERROR_STOP=1", said="select 1 / 0;\n")

    assert "division by zero" in wrong.stderr
    assert (wrong.returncode, stopped.returncode) == (1, 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_psql_and_then_the_server(
    environment: dict[str, str], number: signal.Signals
) -> None:
    running = subprocess.Popen(
        [TELEMETRYD, "db", "psql", "-At", "-c", "select 'begun'", "-c", "select pg_sleep(600)"],
        env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "begun\n"
        running.send_signal(number)

        assert running.wait(timeout=WAIT_S) == 128 + number
    assert is_stopped(environment)


def test_control_c_ends_the_query_and_not_the_session(environment: dict[str, str]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(TELEMETRYD, [TELEMETRYD, "db", "psql", "-X"], environment | {"PAGER": "cat"})
    try:
        _until(terminal, b"=> ")
        # Told by the statement that sleeps, so that the signal meets it.
        sleep = b"begin raise notice 'be%', 'gun'; perform pg_sleep(600); end"
        os.write(terminal, b"do $$ " + sleep + b" $$;\n")
        _until(terminal, b"begun")
        os.write(terminal, b"\x03")
        _until(terminal, b"canceling statement")
        os.write(terminal, b"select 6 * 7000;\n")
        _until(terminal, b"42000")
        os.write(terminal, b"\\q\n")
        _until(terminal, b"")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)

    assert code == 0
    assert is_stopped(environment)


def _until(terminal: int, text: bytes) -> None:
    """Read until the terminal shows the text; empty: to its end, which Linux tells as EIO."""
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4_096):
            shown += piece
            if text and text in shown:
                return
    assert not text, shown
