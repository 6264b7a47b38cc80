"""Traps that command lines fall into, each tried on the real program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import CommandLine

LONG = "device-" + "x" * 120
ESCAPES = re.compile(r"\x1b")


def add_context(cli: CommandLine, name: str, url: str = "https://telemetry.test") -> None:
    assert cli.run("context", "add", name, url).code == 0


def test_a_piped_table_is_never_cut(cli: CommandLine) -> None:
    url = f"https://telemetry.test/{'long/' * 40}end"
    add_context(cli, "local", url)

    plain = cli.run("context", "ls")
    table = cli.run("context", "ls", "-o", "table", COLUMNS="40")

    assert url in plain.out
    assert url in table.out
    assert "…" not in plain.out + table.out


def test_ids_on_a_narrow_terminal_are_not_cut(cli: CommandLine) -> None:
    url = f"https://telemetry.test/{'long/' * 20}end"
    add_context(cli, "local", url)

    result = cli.run_on_terminal("context", "ls", columns=40)

    assert url in result.out.replace("\n", "")


def test_brackets_in_data_are_no_markup(cli: CommandLine) -> None:
    add_context(cli, "local", "https://telemetry.test/[abc]/[bold]x")

    result = cli.run_on_terminal("context", "ls", columns=200)

    assert "/[abc]/[bold]x" in result.out


@pytest.mark.parametrize("format_name", ["plain", "json", "jsonl", "csv", "table"])
def test_colour_never_gets_into_a_pipe(cli: CommandLine, format_name: str) -> None:
    add_context(cli, "local")

    result = cli.run("context", "ls", "-o", format_name, FORCE_COLOR="1", CLICOLOR_FORCE="1")

    assert result.code == 0
    assert not ESCAPES.search(result.out + result.err)


def test_a_terminal_without_colour_gets_none(cli: CommandLine) -> None:
    add_context(cli, "local")

    assert ESCAPES.search(cli.run_on_terminal("context", "ls").out)
    assert not ESCAPES.search(cli.run_on_terminal("context", "ls", NO_COLOR="1").out)
    assert not ESCAPES.search(cli.run_on_terminal("context", "ls", "--color", "never").out)


@pytest.mark.parametrize("arguments", ["--version", "version", "help formats", "context ls", "-h"])
def test_a_full_disk_is_one_line_and_an_exit_code(cli: CommandLine, arguments: str) -> None:
    result = cli.run_shell(f"$T {arguments} > /dev/full")

    assert result.code == 1
    assert result.err == "error: writing failed: No space left on device\n"


@pytest.mark.parametrize("arguments", ["--version", "version", "context ls"])
def test_a_closed_stdout_is_an_error_and_not_silence(cli: CommandLine, arguments: str) -> None:
    result = cli.run_shell(f"$T {arguments} >&-")

    assert result.code == 1
    assert result.err.startswith("error: stdout is closed")


def test_a_closed_stderr_does_not_stop_the_data(cli: CommandLine) -> None:
    result = cli.run_shell("$T version 2>&-")

    assert (result.code, result.out.splitlines()[0]) == (0, "client")


def test_a_reader_that_goes_away_ends_us_as_it_ends_cat(cli: CommandLine) -> None:
    folder = cli.config_folder
    folder.mkdir(parents=True)
    contexts = (f'[contexts.c{i}]\nserver = "https://{"x" * 60}.test"\n' for i in range(5_000))
    (folder / "config.toml").write_text("".join(contexts))

    result = cli.run_shell("$T context ls | head -1; echo ${PIPESTATUS[0]}")

    assert result.out.splitlines() == ["name\tserver\tis_current\thas_token", "141"]
    assert result.err == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stdout_that_is_not_utf8_survives(cli: CommandLine, encoding: str) -> None:
    folder = cli.config_folder
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[contexts."x"]\nserver = "https://天文.test"\n')

    for format_name in ("plain", "csv", "table", "json"):
        result = cli.run("context", "ls", "-o", format_name, PYTHONIOENCODING=encoding)
        assert result.code == 0, result.err
    assert json.loads(result.out)[0]["server"] == "https://天文.test"


@pytest.mark.parametrize(
    "arguments", [["-h"], ["context", "-h"], ["context", "ls", "-h"], ["help"]]
)
def test_short_help_works_at_every_level(cli: CommandLine, arguments: list[str]) -> None:
    result = cli.run(*arguments)

    assert result.code == 0
    assert result.out.startswith("Usage: telemetryctl")


def test_common_options_are_taken_after_the_verb(cli: CommandLine) -> None:
    add_context(cli, "local")

    result = cli.run("context", "ls", "-o", "json", "--fields", "name", "-q", "--no-input")

    assert result.out == '[{"name":"local"}]\n'


@pytest.mark.parametrize(
    "arguments", [["contex"], ["context", "lst"], ["context", "ls", "--outputt"]]
)
def test_a_typo_gets_a_suggestion_and_exit_2(cli: CommandLine, arguments: list[str]) -> None:
    result = cli.run(*arguments)

    assert result.code == 2
    assert result.out == ""
    assert re.search(r"[Dd]id you mean|[Pp]ossible", result.err), result.err
    assert "Traceback" not in result.err


def test_an_unexpected_error_is_three_lines_and_a_traceback_only_when_asked(
    cli: CommandLine,
) -> None:
    folder = cli.config_folder
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[contexts.x]\nserver = 5\n")

    short = cli.run("context", "show", "-c", "x")

    assert "Traceback" not in short.err
    assert short.code in (1, 2, 78)


def test_escapes_in_data_do_not_steer_the_terminal(cli: CommandLine) -> None:
    folder = cli.config_folder
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        '[contexts.x]\nserver = "https://a\\u001b]0;owned\\u0007"\n'
    )

    result = cli.run_on_terminal("context", "ls", NO_COLOR="1", columns=200)

    assert "\x1b]0;" not in result.out
    assert "\\x1b]0;owned\\x07" in result.out


def test_credentials_that_others_may_read_end_with_78(cli: CommandLine) -> None:
    add_context(cli, "local")
    path = cli.config_folder / "credentials.toml"
    path.write_text('[contexts.local]\ntoken = "tlm_secret"\n')
    path.chmod(0o644)

    result = cli.run("whoami")

    assert result.code == 78
    assert "chmod 600" in result.err
    assert "tlm_secret" not in result.err


def test_no_command_takes_a_secret_on_its_command_line(cli: CommandLine) -> None:
    result = cli.run("whoami", "--token", "tlm_secret")

    assert result.code == 2
    assert "tlm_secret" not in result.err


@pytest.mark.parametrize("command", ["write -f -", "whoami --token-stdin"])
def test_a_closed_stdin_is_a_usage_error(cli: CommandLine, command: str) -> None:
    result = cli.run_shell(f"$T {command} --server http://127.0.0.1:1 <&-")

    assert result.code == 2
    assert result.err.startswith("error: stdin is closed")


def test_a_key_that_is_not_text_is_a_configuration_error(cli: CommandLine) -> None:
    result = cli.run_shell("printf '\\xff\\xfe' | $T whoami --token-stdin --server 127.0.0.1:1")

    assert result.code == 78


def test_arguments_that_are_not_utf8_are_a_usage_error(cli: CommandLine) -> None:
    result = cli.run_shell("$T device get $'\\xff' --server http://127.0.0.1:1")

    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.parametrize("server", ["http://a b", "http://[::1", "http://*", "http://ä" + "x" * 70])
def test_a_server_that_cannot_be_one_is_no_crash(cli: CommandLine, server: str) -> None:
    result = cli.run("whoami", "--server", server, "--timeout", "2s")

    assert result.code in (2, 75, 78)
    assert "inside telemetryctl" not in result.err


def test_a_server_that_is_not_there_is_75(cli: CommandLine) -> None:
    result = cli.run("whoami", "--server", "http://127.0.0.1:1", "--timeout", "5s")

    assert result.code == 75
    assert result.err.splitlines()[0] == "error: http://127.0.0.1:1 can't be reached"
    assert result.err.splitlines()[-1].startswith("hint: ")


def test_an_answer_from_somebody_elses_server_is_not_taken_for_data(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "health").write_text("<html>")
    script = """
        python3 -m http.server 0 --bind 127.0.0.1 -d $DIR >$DIR/log 2>&1 & server=$!
        until grep -q 'port [0-9]' $DIR/log; do sleep 0.05; done
        port=$(grep -o 'port [0-9]*' $DIR/log | cut -d' ' -f2)
        $T version --check --server http://127.0.0.1:$port; code=$?
        kill $server
        exit $code
    """

    result = cli.run_shell(script, DIR=str(tmp_path), PYTHONUNBUFFERED="1")

    assert result.code == 78
    assert "does not come from a telemetry daemon" in result.err
