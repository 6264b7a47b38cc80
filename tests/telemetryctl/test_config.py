"""Where settings come from, and which one wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from telemetryctl.api import contexts
from telemetryctl.config import DEFAULT_SERVER, Flags, Settings, normal_server, resolve
from telemetryctl.failures import ConfigurationFailure, UsageFailure


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with two contexts; `local` is the current one."""
    folder = tmp_path / "telemetryctl"
    for name in ("local", "work"):
        contexts.write_context(
            name, server=f"https://{name}.test", token=f"token-{name}", config_home=folder
        )
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def edit(environ: dict[str, str], **values: Any) -> None:
    folder = Path(environ["XDG_CONFIG_HOME"]) / "telemetryctl"
    tables = contexts.read_config(folder)
    tables["contexts"]["local"] |= values
    contexts.write_tables(folder / "config.toml", tables)


def token_of(settings: Settings) -> str | None:
    return settings.token.value if settings.token else None


def test_without_anything_the_server_is_the_local_one(tmp_path: Path) -> None:
    settings = resolve(Flags(), {"XDG_CONFIG_HOME": str(tmp_path)})

    assert (settings.server, settings.token, settings.context) == (DEFAULT_SERVER, None, None)


def test_the_current_context_gives_server_and_token(environ: dict[str, str]) -> None:
    settings = resolve(Flags(), environ)

    assert settings.server == "https://local.test"
    assert token_of(settings) == "token-local"
    assert settings.origins["token"] == "credentials.toml"


def test_the_environment_wins_over_the_context(environ: dict[str, str]) -> None:
    more = {"TELEMETRYCTL_SERVER": "http://env.test/", "TELEMETRYCTL_TOKEN": "token-env"}

    settings = resolve(Flags(), environ | more)

    assert (settings.server, token_of(settings)) == ("http://env.test", "token-env")
    assert settings.origins["server"] == "TELEMETRYCTL_SERVER"


def test_a_flag_wins_over_the_environment(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("token-flag\n")
    more = {
        "TELEMETRYCTL_SERVER": "http://env.test",
        "TELEMETRYCTL_TOKEN": "token-env",
        "TELEMETRYCTL_OUTPUT": "json",
        "TELEMETRYCTL_CONTEXT": "local",
    }
    flags = Flags(server="http://flag.test", output="csv", token_file=str(tmp_path / "key"))

    settings = resolve(flags, environ | more)

    assert (settings.server, settings.output) == ("http://flag.test", "csv")
    assert token_of(settings) == "token-flag"


def test_a_context_named_by_flag_wins_over_the_environment(environ: dict[str, str]) -> None:
    more = {"TELEMETRYCTL_SERVER": "http://env.test", "TELEMETRYCTL_TOKEN": "token-env"}

    settings = resolve(Flags(context="work"), environ | more)

    assert (settings.server, token_of(settings)) == ("https://work.test", "token-work")


def test_a_stored_token_goes_only_to_its_own_server(environ: dict[str, str]) -> None:
    assert resolve(Flags(server="https://elsewhere.test"), environ).token is None
    assert token_of(resolve(Flags(server="https://local.test/"), environ)) == "token-local"


def test_systemd_credentials_win_over_the_token_variable(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "telemetryctl-token").write_text("token-systemd")
    more = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TELEMETRYCTL_TOKEN": "token-env"}

    assert token_of(resolve(Flags(), environ | more)) == "token-systemd"


def test_a_credential_command_gives_the_token(environ: dict[str, str]) -> None:
    edit(environ, credential_command=["sh", "-c", "echo token-pass; echo more"])

    assert token_of(resolve(Flags(), environ)) == "token-pass"


@pytest.mark.parametrize("command", [["false"], ["/no/such"], "text", [], ["true"]])
def test_a_credential_command_that_fails_is_a_configuration_error(
    environ: dict[str, str], command: object
) -> None:
    edit(environ, credential_command=command)
    if not command:
        # An empty list means that there is no such command.
        assert token_of(resolve(Flags(), environ)) == "token-local"
        return

    with pytest.raises(ConfigurationFailure):
        resolve(Flags(), environ)


def test_a_secret_is_never_in_the_text_of_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("top-secret")
    edit(environ, credential_command=["sh", "-c", f"cat {tmp_path / 'key'}; exit 1"])

    with pytest.raises(ConfigurationFailure) as failed:
        resolve(Flags(), environ)

    assert "top-secret" not in f"{failed.value.what}{failed.value.why}{failed.value.__context__!r}"
    assert "token-work" not in repr(resolve(Flags(context="work"), environ))


@pytest.mark.parametrize("token", ["", "  ", "two words", "naïve", "x" * 9_000, "a\x01b"])
def test_what_is_no_token_is_refused(environ: dict[str, str], token: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(token)

    with pytest.raises(ConfigurationFailure):
        resolve(Flags(token_file=str(tmp_path / "key")), environ)


def test_an_unknown_context_is_a_configuration_error(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationFailure, match="nowhere") as failed:
        resolve(Flags(context="nowhere"), environ)

    assert "local, work" in failed.value.why


def test_an_unknown_format_says_where_it_was_set(environ: dict[str, str]) -> None:
    with pytest.raises(UsageFailure, match="TELEMETRYCTL_OUTPUT"):
        resolve(Flags(), environ | {"TELEMETRYCTL_OUTPUT": "xml"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://x:80/base/", "http://x:80/base"),
        ("127.0.0.1:8218", "http://127.0.0.1:8218"),
        ("localhost", "http://localhost"),
        ("[::1]:8218", "http://[::1]:8218"),
        ("telemetry.example.org", "https://telemetry.example.org"),
    ],
)
def test_a_server_is_completed(text: str, expected: str) -> None:
    assert normal_server(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ftp://x", "http://", "http://u:p@x", "http://x?token=1", "http://x:port", "http://[x"],
)
def test_a_server_that_is_none_or_holds_secrets_is_refused(text: str) -> None:
    with pytest.raises(UsageFailure):
        normal_server(text)


def test_a_contexts_signing_key_goes_with_its_own_key_only(environ: dict[str, str]) -> None:
    edit(environ, signing_key_file="/home/me/sign.pem")

    own = resolve(Flags(), environ)
    other = resolve(Flags(), environ | {"TELEMETRYCTL_TOKEN": "token-env"})
    elsewhere = resolve(Flags(server="https://else.test"), environ)

    assert (own.signing_key_file, own.origins["signing_key_file"]) == (
        Path("/home/me/sign.pem"),
        "context",
    )
    assert other.signing_key_file is None
    assert elsewhere.signing_key_file is None


def test_a_signing_key_of_the_environment_wins_unless_a_context_is_named(
    environ: dict[str, str],
) -> None:
    edit(environ, signing_key_file="/home/me/sign.pem")
    more = environ | {"TELEMETRYCTL_SIGNING_KEY_FILE": "/run/sign.pem"}

    assert resolve(Flags(), more).signing_key_file == Path("/run/sign.pem")
    assert resolve(Flags(context="local"), more).signing_key_file == Path("/home/me/sign.pem")
    assert resolve(Flags(context="work"), more).signing_key_file is None


def test_another_login_forgets_the_signing_key(environ: dict[str, str]) -> None:
    edit(environ, signing_key_file="/home/me/sign.pem")
    folder = Path(environ["XDG_CONFIG_HOME"]) / "telemetryctl"

    contexts.write_context("local", server="https://local.test", token="t", config_home=folder)

    assert "signing_key_file" not in contexts.read_config(folder)["contexts"]["local"]
