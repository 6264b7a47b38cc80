"""Accounts on the command line, with a real daemon."""

from __future__ import annotations

import json

from command_line import CommandLine

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
