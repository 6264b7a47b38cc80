"""`telemetryctl key test`: what a key may do, as words and as an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from command_line import CommandLine


@pytest.fixture
def bus(cli: CommandLine, tmp_path: Path) -> Path:
    """A file with a key of one line's buses, named as the key is."""
    file = tmp_path / f"bus-{uuid4().hex}"
    made = cli.run("key", "create", file.name, "--scope", "ingest,read", "--device", "bus-*")
    assert made.code == 0, made.err
    file.write_text(made.out)
    file.chmod(0o600)
    return file


def test_a_key_is_asked_with_yes_or_no(cli: CommandLine, bus: Path) -> None:
    for question, code, why in (
        (["--operation", "write_point", "--device", "bus-7"], 0, ""),
        (["--operation", "writePoint"], 0, ""),
        (["--operation", "createRule"], 1, "it needs the scope alerts:write"),
        (["--operation", "service_stats"], 1, "bound to some devices or metrics"),
        (["--device", "van-7", "--metric", "speed"], 1, "leave out the device van-7"),
    ):
        for who in ([bus.name], ["--token-file", str(bus)]):
            told = cli.run("key", "test", *who, *question)

            assert (told.code, told.out) == (code, "no\n" if code else "yes\n"), told.err
            assert why in told.err
    document = cli.run("key", "test", bus.name, "--operation", "create_rule", "-o", "json")
    assert document.code == 1
    assert json.loads(document.out)["operations"][0]["lack"] == "scope"


def test_without_a_question_everything_is_told(cli: CommandLine, bus: Path) -> None:
    shown = cli.run("key", "test", "--token-file", str(bus), "-o", "table")
    rows = cli.run("key", "test", bus.name, "-o", "plain", "--fields", "operation,allowed,lack")

    assert shown.code == 0, shown.err
    assert "active" in shown.out
    assert "bus-*" in shown.out
    assert "create_rule\tfalse\tscope" in rows.out.splitlines()
    assert "write_point\ttrue\t" in rows.out.splitlines()


def test_a_key_that_was_revoked_may_do_nothing(cli: CommandLine, bus: Path) -> None:
    key_id = json.loads(cli.run("key", "show", bus.name, "-o", "json").out)["key_id"]
    assert cli.run("key", "revoke", bus.name, "--yes").code == 0

    known = cli.run("key", "test", key_id)
    asked = cli.run("key", "test", key_id, "--operation", "query")
    itself = cli.run("key", "test", "--token-file", str(bus))
    unknown = cli.run("key", "test", bus.name)

    assert (known.code, asked.code, itself.code, unknown.code) == (1, 1, 4, 3)
    assert "the key is revoked" in asked.err


def test_an_operation_that_is_none_is_a_usage_error(cli: CommandLine) -> None:
    told = cli.run("key", "test", "--operation", "fly")

    assert (told.code, told.out) == (2, "")
    assert '"fly" is no operation' in told.err
