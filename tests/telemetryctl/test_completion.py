"""What the shell offers, within its budget, and never an error."""

from __future__ import annotations

import json
import socket
import time

import pytest
from command_line import CommandLine
from rough_server import answer, rough_server

DEVICES = json.dumps({"devices": [{"device_id": "bus-1"}, {"device_id": "bus-2"}]}).encode()


def offered(cli: CommandLine, words: str, **environ: str) -> list[str]:
    """What bash would offer for the last of the words."""
    parts = words.split(" ")
    result = cli.run(
        _TELEMETRYCTL_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(parts) - 1),
        **environ,
    )
    assert result.code == 0
    assert result.err == ""
    return result.out.split()


def offered_in_the_end(cli: CommandLine, words: str, **environ: str) -> list[str]:
    """The same, of a server that on a busy machine may be too slow for somebody who types."""
    for _ in range(20):
        if found := offered(cli, words, **environ):
            return found
    return []


def test_commands_verbs_and_options_are_offered(cli: CommandLine) -> None:
    assert offered(cli, "telemetryctl st") == ["status"]
    assert "create" in offered(cli, "telemetryctl metric ")
    assert offered(cli, "telemetryctl metric ls --no-h") == ["--no-headers"]


def test_contexts_are_offered(cli: CommandLine) -> None:
    cli.run("context", "add", "work", "https://a.test")
    cli.run("context", "add", "world", "https://b.test")

    assert offered(cli, "telemetryctl context use wor") == ["work", "world"]
    assert offered(cli, "telemetryctl status -c work") == ["work"]


def test_devices_are_asked_once_a_minute(cli: CommandLine) -> None:
    with rough_server([answer("200 OK", DEVICES)]) as server:
        environ = {"TELEMETRYCTL_SERVER": server.url, "TELEMETRYCTL_TOKEN": "tlm_secret"}

        found = offered_in_the_end(cli, "telemetryctl device get b", **environ)
        asked = len(server.requests)
        assert found == ["bus-1", "bus-2"]
        assert offered(cli, "telemetryctl device get bus-2", **environ) == ["bus-2"]
        assert len(server.requests) == asked
    cached = next((cli.home / "cache").rglob("*devices.json"))
    assert "tlm_secret" not in f"{cached}{cached.read_text()}"


def test_groups_are_offered_by_name(cli: CommandLine) -> None:
    groups = json.dumps({"groups": [{"name": "north"}, {"name": "south"}]}).encode()
    with rough_server([answer("200 OK", groups)]) as server:
        environ = {"TELEMETRYCTL_SERVER": server.url}
        assert offered_in_the_end(cli, "telemetryctl latest --group n", **environ) == ["north"]


def test_another_server_has_a_cache_of_its_own(cli: CommandLine) -> None:
    with rough_server([answer("200 OK", DEVICES)]) as server:
        offered_in_the_end(cli, "telemetryctl device get b", TELEMETRYCTL_SERVER=server.url)

    other = offered(cli, "telemetryctl device get b", TELEMETRYCTL_SERVER="http://127.0.0.1:1")

    assert other == []


def test_a_server_that_does_not_answer_is_not_waited_for(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()

        assert offered(cli, "telemetryctl device get b", TELEMETRYCTL_SERVER=url) == []

    # Where a process takes long to begin; other commands would wait for half a minute.
    assert time.monotonic() - began < 25


@pytest.mark.parametrize("body", [b"{}", b"nonsense", b'{"devices": [1]}'])
def test_a_strange_answer_offers_nothing(cli: CommandLine, body: bytes) -> None:
    with rough_server([answer("200 OK", body)]) as server:
        assert offered(cli, "telemetryctl device get b", TELEMETRYCTL_SERVER=server.url) == []


def test_a_broken_configuration_offers_nothing(cli: CommandLine) -> None:
    cli.config_folder.mkdir(parents=True)
    (cli.config_folder / "config.toml").write_text("broken = ")

    assert offered(cli, "telemetryctl context use ") == []
    assert offered(cli, "telemetryctl device get ") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("telemetryctl context l", "ls"),
        ("telemetryctl completion", "completion"),
        ("telemetryctl context use plant:", "1 2"),
        ("telemetryctl status --context=plant:1", "1"),
    ],
)
def test_the_bash_script_completes_in_a_real_bash(
    cli: CommandLine, line: str, expected: str
) -> None:
    for name in ("plant:1", "plant:2"):
        cli.run("context", "add", name, "https://x.test")
    script = """
        PATH="$(dirname $T):$PATH"; source <($T completion bash)
        COMP_LINE=$LINE; COMP_POINT=${#LINE}
        _telemetryctl telemetryctl; echo "${COMPREPLY[@]}"
    """

    assert cli.run_shell(script, LINE=line).out.strip() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(cli: CommandLine, shell: str) -> None:
    result = cli.run("completion", shell)

    assert result.code == 0
    assert "_TELEMETRYCTL_COMPLETE" in result.out


def test_an_unknown_shell_is_a_usage_error(cli: CommandLine) -> None:
    assert cli.run("completion", "tcsh").code == 2
