"""The command tree: complete, lazy and the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from command_line import CommandLine

from telemetryctl import tree

COMMON = {
    "--context",
    "-c",
    "--server",
    "--output",
    "-o",
    "--fields",
    "--no-headers",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--color",
    "--tz",
    "--timeout",
    "--no-input",
}


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its whole name."""
    root: Any = typer.main.get_command(tree.app)
    for name in tree.COMMANDS:
        yield from _leaves_of(name, root.get_command(None, name))


def _leaves_of(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for verb, inner in command.commands.items():
        yield from _leaves_of(f"{name} {verb}", inner)


LEAVES = dict(leaves())


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_the_common_options(name: str) -> None:
    options = {option for param in LEAVES[name].params for option in param.opts}

    assert options >= COMMON


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = LEAVES[name]

    assert command.help
    assert "Examples:" in command.epilog
    assert f"telemetryctl {name}" in command.epilog
    for param in command.params:
        assert param.help, f"{name} {param.name} has no help"


@pytest.mark.parametrize("name", LEAVES)
def test_no_option_is_declared_twice(name: str) -> None:
    options = [option for param in LEAVES[name].params for option in param.opts]

    assert len(options) == len(set(options))


def loaded_by(cli: CommandLine, *arguments: str, **environ: str) -> set[str]:
    """The heavy modules that a run imports."""
    script = (
        "import sys, io\nsys.argv = ['telemetryctl', *sys.argv[1:]]\nsys.stdout = io.StringIO()\n"
        "from telemetryctl.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = ('typer', 'httpx', 'rich', 'pydantic', 'asyncio', 'websockets')\n"
        "print(*(m for m in heavy if m in sys.modules), file=sys.__stdout__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=cli.environment(**environ),
        check=True,
    )
    return set(done.stdout.split())


def test_the_version_is_told_without_importing_anything_slow(cli: CommandLine) -> None:
    assert loaded_by(cli, "--version") == set()


def test_help_imports_neither_client_nor_tables(cli: CommandLine) -> None:
    assert loaded_by(cli, "--help") == {"typer"}


def test_a_completion_of_names_imports_neither_client_nor_tables(cli: CommandLine) -> None:
    words = {"COMP_WORDS": "telemetryctl de", "COMP_CWORD": "1"}

    loaded = loaded_by(cli, _TELEMETRYCTL_COMPLETE="complete_bash", **words)

    # typer itself brings pydantic as soon as it reads options.
    assert not loaded & {"httpx", "rich", "asyncio"}


def test_a_command_that_asks_the_server_does_not_import_tables(cli: CommandLine) -> None:
    loaded = loaded_by(cli, "whoami", "--server", "http://127.0.0.1:1", "--timeout", "100ms")

    assert "httpx" in loaded
    assert "rich" not in loaded


def test_sockets_are_imported_by_the_tail_that_uses_them_alone(cli: CommandLine) -> None:
    nowhere = ["--server", "http://127.0.0.1:1"]

    assert not loaded_by(cli, "tail", "--help") & {"httpx", "rich", "websockets", "asyncio"}
    for transport in ("poll", "sse"):
        loaded = loaded_by(cli, "tail", *nowhere, "--transport", transport)
        assert "httpx" in loaded
        assert not loaded & {"websockets", "rich"}
    assert "websockets" in loaded_by(cli, "tail", *nowhere, "--transport", "ws")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(cli: CommandLine) -> None:
    script = (
        "import sys; sys.modules['zstandard'] = None; sys.argv = ['telemetryctl', *sys.argv[1:]]\n"
        "from telemetryctl.__main__ import main; main()"
    )
    arguments = ["write", "d", "x=1", "--compress", "zstd", "--server", "http://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=cli.environment(),
        check=False,
    )

    assert done.returncode == 78
    assert done.stderr == (
        "error: zstandard is not installed\nhint: pip install 'telemetryctl[daemon]'\n"
    )


@pytest.mark.parametrize(
    ("alias", "name"),
    [("contexts list", "context ls"), ("metrics show", "metric get"), ("keys rm", "key revoke")],
)
def test_the_names_of_other_tools_work(cli: CommandLine, alias: str, name: str) -> None:
    result = cli.run(*alias.split(), "-h")

    assert result.code == 0
    assert LEAVES[name].help.splitlines()[0] in result.out


def test_aliases_are_not_listed(cli: CommandLine) -> None:
    assert "contexts" not in cli.run("--help").out
    assert "  list" not in cli.run("context", "--help").out


def test_nothing_to_do_shows_the_help_and_is_a_usage_error(cli: CommandLine) -> None:
    for arguments in ([], ["context"]):
        result = cli.run(*arguments)

        assert result.code == 2
        assert "telemetryctl" in result.err
        assert result.out == ""


def test_ctrl_c_ends_at_once_with_130(cli: CommandLine) -> None:
    # Interactive shells give their jobs the default action; `sh -c ... &` would ignore SIGINT.
    result = cli.run_shell(
        "set -m; $T status --watch --server http://127.0.0.1:1 >/dev/null 2>&1 & sleep 1;"
        " kill -INT %1; wait %1"
    )

    assert result.code == 130


def test_every_exit_code_is_explained(cli: CommandLine) -> None:
    result = cli.run("help", "exit-codes")

    codes = [int(line.split()[0]) for line in result.out.splitlines()]
    assert codes == [0, 1, 2, 3, 4, 5, 6, 7, 75, 78, 130, 141]


@pytest.mark.parametrize(
    "topic", ["environment", "formats", "time", "cron", "systemd", "auth", "device ls", "write"]
)
def test_every_topic_and_command_is_explained(cli: CommandLine, topic: str) -> None:
    result = cli.run("help", *topic.split())

    assert result.code == 0
    assert len(result.out.splitlines()) > 5


def test_an_unknown_topic_lists_the_known_ones(cli: CommandLine) -> None:
    result = cli.run("help", "nonsense")

    assert result.code == 2
    assert "exit-codes" in result.err
