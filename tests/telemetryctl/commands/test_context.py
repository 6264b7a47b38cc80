"""Contexts, by the command line alone."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from command_line import CommandLine


@pytest.fixture
def cli_with_two(cli: CommandLine) -> CommandLine:
    """A user with the contexts `local` (the current one) and `work`, both with keys."""
    for name in ("local", "work"):
        assert cli.run("context", "add", name, f"https://{name}.test").code == 0
    credentials = cli.config_folder / "credentials.toml"
    credentials.write_text(
        '[contexts.local]\ntoken = "tlm_dev_1_secret"\n[contexts.work]\ntoken = "w"\n'
    )
    credentials.chmod(0o600)
    return cli


def listed(cli: CommandLine) -> dict[str, Any]:
    rows = json.loads(cli.run("context", "ls", "-o", "json").out)
    return {row["name"]: row for row in rows}


def test_use_changes_the_current_one_and_a_dash_goes_back(cli_with_two: CommandLine) -> None:
    cli_with_two.run("context", "use", "work")
    assert listed(cli_with_two)["work"]["is_current"]

    result = cli_with_two.run("context", "use", "-")

    assert result.err == 'context "local" is now the default\n'
    assert result.out == ""
    assert listed(cli_with_two)["local"]["is_current"]


def test_show_tells_origins_and_masks_the_key(cli_with_two: CommandLine) -> None:
    result = cli_with_two.run(
        "context", "show", "--origin", "-o", "json", TELEMETRYCTL_SERVER="https://env.test"
    )

    rows = {row["setting"]: row for row in json.loads(result.out)}
    assert rows["server"] == {
        "setting": "server",
        "value": "https://env.test",
        "origin": "TELEMETRYCTL_SERVER",
    }
    assert rows["token"]["value"] is None
    own = cli_with_two.run("context", "show", "--origin")
    assert "tlm_dev_1_…\tcredentials.toml" in own.out
    assert "secret" not in own.out + own.err


def test_another_host_drops_the_key_of_the_old_one(cli_with_two: CommandLine) -> None:
    cli_with_two.run("context", "edit", "local", "--url", "https://elsewhere.test")

    assert not listed(cli_with_two)["local"]["has_token"]
    assert listed(cli_with_two)["work"]["has_token"]


@pytest.mark.parametrize("option", ["--url", "--server"])
def test_another_port_of_the_same_host_keeps_the_key(
    cli_with_two: CommandLine, option: str
) -> None:
    cli_with_two.run("context", "edit", "local", option, "https://local.test:8443")

    assert listed(cli_with_two)["local"]["server"] == "https://local.test:8443"
    assert listed(cli_with_two)["local"]["has_token"]


def test_a_downgrade_to_plain_text_drops_the_key(cli_with_two: CommandLine) -> None:
    cli_with_two.run("context", "edit", "local", "--url", "http://local.test")

    assert not listed(cli_with_two)["local"]["has_token"]


def test_edit_sets_defaults_that_commands_follow(cli_with_two: CommandLine) -> None:
    cli_with_two.run("context", "edit", "local", "--default-output", "jsonl")

    assert len(cli_with_two.run("context", "ls").out.splitlines()) == 2


def test_rm_forgets_the_key_too(cli_with_two: CommandLine) -> None:
    cli_with_two.run("context", "rm", "local")

    credentials = (cli_with_two.config_folder / "credentials.toml").read_text()
    assert tomllib.loads(credentials) == {"contexts": {"work": {"token": "w"}}}
    assert list(listed(cli_with_two)) == ["work"]
    assert not any(row["is_current"] for row in listed(cli_with_two).values())


def test_logout_forgets_the_key_and_keeps_the_context(cli_with_two: CommandLine) -> None:
    assert cli_with_two.run("logout").code == 0

    assert not listed(cli_with_two)["local"]["has_token"]
    assert cli_with_two.run("logout").code == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["use", "nowhere"], 3),
        (["rm", "nowhere"], 3),
        (["edit", "nowhere"], 3),
        (["add", "local", "https://x.test"], 2),
        (["add", "bad name", "https://x.test"], 2),
        (["add", "new", "ftp://x.test"], 2),
        (["edit", "local", "--default-output", "xml"], 2),
        (["show", "-c", "nowhere"], 78),
    ],
)
def test_mistakes_have_their_exit_codes(
    cli_with_two: CommandLine, arguments: list[str], code: int
) -> None:
    result = cli_with_two.run("context", *arguments)

    assert result.code == code
    assert result.err.startswith("error: ")
    assert result.out == ""


def test_a_read_only_home_is_a_configuration_error(cli: CommandLine) -> None:
    (cli.home / "config").write_text("a file where the folder should be")

    result = cli.run("context", "add", "local", "https://x.test")

    assert result.code == 78
    assert "Traceback" not in result.err
