"""config.example.toml documents every setting with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.config import BadConfig, Config, load_config

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_the_example_is_the_defaults() -> None:
    assert load_config(EXAMPLE).model_dump() == Config().model_dump()


def test_the_example_names_every_setting_and_says_why() -> None:
    text = EXAMPLE.read_text()
    defaults: dict[str, dict[str, Any]] = Config().model_dump()
    named = {f"{s}.{k}" for s, keys in tomllib.loads(text).items() for k in keys}

    assert named | {"database.data_dir"} == {
        f"{s}.{k}" for s, keys in defaults.items() for k in keys
    }
    assert re.search(r"^# data_dir = ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[server]\nprot = 1", "server.prot"),
        ("[server]\nport = 70000", "server.port"),
        ("[journal]\nkeep = 'soon'", "journal.keep"),
        ("[sevrer]\nport = 1", "sevrer"),
        ("[server", "telemetry.toml: Expected"),
    ],
)
def test_a_mistake_is_refused_and_named(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text(text)

    with pytest.raises(BadConfig) as refused:
        load_config(file)

    assert place in str(refused.value)


def test_credentials_of_the_service_manager_stand_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "telemetry.toml", tmp_path / "credentials"
    file.write_text("[database]\nurl = 'postgresql://in-the-file/x'\nquery_connections = 3")
    folder.mkdir()
    (folder / "database__url").write_text("postgresql://handed-over/x\n")
    (folder / "something-else").write_text("not ours")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))

    database = load_config(file).database

    assert database.url == "postgresql://handed-over/x"
    assert database.query_connections == 3


def test_the_environment_overrides_the_file_and_is_checked_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text("[server]\nport = 1111")
    monkeypatch.setenv("TELEMETRY_SERVER__PORT", "2222")

    assert load_config(file).server.port == 2222

    monkeypatch.setenv("TELEMETRY_SERVER__PROT", "1")
    with pytest.raises(BadConfig, match="prot"):
        load_config(file)


def test_the_password_of_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_DATABASE__URL", "postgresql://ana:s3cret@host/db")

    shown = load_config(EXAMPLE).shown()

    assert "ana:***@host" in shown
    assert "s3cret" not in shown


def test_a_password_that_is_a_parameter_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://host/db?user=ana&password=s3cret&sslmode=require"
    monkeypatch.setenv("TELEMETRY_DATABASE__URL", url)

    assert "user=ana&password=***&sslmode=require" in load_config(EXAMPLE).shown()


def test_secrets_of_nats_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_NATS__URL", "nats://t0ken@a:4222,nats://ana:s3cret@b:4222")
    monkeypatch.setenv("TELEMETRY_NATS__PASSWORD", "p4ssword")
    monkeypatch.setenv("TELEMETRY_NATS__TOKEN", "t1cket")

    config = load_config(EXAMPLE)

    assert "nats://***@a:4222,nats://ana:***@b:4222" in config.shown()
    for secret in ("t0ken", "s3cret", "p4ssword", "t1cket"):
        assert secret not in config.shown()
    assert "p4ssword" not in repr(config)
