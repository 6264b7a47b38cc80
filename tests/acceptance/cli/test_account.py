"""Accounts on the command line, with a real daemon."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from command_line import CommandLine
from daemons import DaemonProcess

PASSWORD = "correct horse battery staple"


def accounts(cli: CommandLine) -> dict[str, dict[str, object]]:
    listed = json.loads(cli.run("account", "ls", "-o", "json").out)["accounts"]
    return {account["username"]: account for account in listed}


def test_an_account_is_made_changed_and_removed(cli: CommandLine) -> None:
    made = cli.run(
        "account", "create", "ann", "--scope", "read,export", "--password-stdin", stdin=PASSWORD
    )
    assert made.code == 0, made.err
    assert accounts(cli)["ann"]["scopes"] == ["read", "export"]

    assert cli.run("account", "edit", "ann", "--disable").code == 0
    assert accounts(cli)["ann"]["disabled"] is True
    assert cli.run("account", "delete", "ann", "--yes").code == 0
    assert "ann" not in accounts(cli)
    assert PASSWORD not in made.out + made.err


def test_a_name_that_is_taken_is_refused_whatever_its_case(cli: CommandLine) -> None:
    cli.run("account", "create", "bob", "--password-stdin", stdin=PASSWORD)

    again = cli.run("account", "create", "BOB", "--password-stdin", stdin=PASSWORD)

    assert again.code == 5
    assert "there is an account of this name" in again.err


def test_without_anybody_to_ask_a_password_has_to_come_from_stdin(cli: CommandLine) -> None:
    refused = cli.run("account", "create", "carl")

    assert refused.code == 2
    assert "--password-stdin" in refused.err


def test_a_password_is_typed_twice_and_unseen(cli: CommandLine) -> None:
    answers = {"password: ": PASSWORD, "again: ": PASSWORD}

    result = cli.run_on_terminal("account", "create", "dora", answers=answers)

    assert result.code == 0, result.out
    assert PASSWORD not in result.out
    assert "dora" in accounts(cli)


class TestLogin:
    """A user with a home of their own, who has a name and a password."""

    def entry(self, user: CommandLine) -> dict[str, object]:
        text = (user.config_folder / "credentials.toml").read_text()
        found: dict[str, object] = tomllib.loads(text)["contexts"]["work"]
        return found

    def logged_in(self, cli: CommandLine, daemon: DaemonProcess, home: Path) -> CommandLine:
        name = f"u{home.name}"[:60]
        cli.run("account", "create", name, "--password-stdin", stdin=PASSWORD)
        user = CommandLine(home)
        done = user.run(
            "login", daemon.url, "--name", "work", "--username", name, "--password-stdin",
            stdin=PASSWORD + "\n",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert "renewed when it is used" in done.err
        return user

    def test_a_login_is_kept_for_its_user_only_and_used(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        user = self.logged_in(cli, daemon, tmp_path)

        assert user.run("device", "ls").code == 0
        assert user.run("key", "ls").code == 4
        file = user.config_folder / "credentials.toml"
        assert file.stat().st_mode & 0o777 == 0o600
        assert PASSWORD not in file.read_text()

    def test_a_token_that_ends_is_renewed_unseen(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        user = self.logged_in(cli, daemon, tmp_path)
        before = self.entry(user)
        file = user.config_folder / "credentials.toml"
        file.write_text(re.sub(r"token_ends = \d+", "token_ends = 1", file.read_text()))

        result = user.run("device", "ls", "--quiet")

        after = self.entry(user)
        assert (result.code, result.err) == (0, "")
        assert after["refresh_token"] != before["refresh_token"]
        assert after["token"] != before["token"]
        assert file.stat().st_mode & 0o777 == 0o600

    def test_a_logout_ends_the_session_on_the_server(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        user = self.logged_in(cli, daemon, tmp_path)
        token = str(self.entry(user)["token"])
        assert user.run("logout").code == 0

        assert user.run("device", "ls").code == 4
        left = user.run("device", "ls", TELEMETRYCTL_TOKEN=token, TELEMETRYCTL_SERVER=daemon.url)
        assert left.code == 4

    def test_a_login_that_was_ended_says_what_to_do(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        user = self.logged_in(cli, daemon, tmp_path)
        cli.run("account", "delete", f"u{tmp_path.name}"[:60], "--yes")
        file = user.config_folder / "credentials.toml"
        file.write_text(re.sub(r"token_ends = \d+", "token_ends = 1", file.read_text()))

        result = user.run("device", "ls")

        assert result.code == 78
        assert "--username" in result.err

    def test_a_wrong_password_keeps_nothing(self, daemon: DaemonProcess, tmp_path: Path) -> None:
        user = CommandLine(tmp_path)

        done = user.run("login", daemon.url, "--username", "x", "--password-stdin", stdin="wrong")

        assert done.code == 4
        assert not (user.config_folder / "credentials.toml").exists()
