"""Settings as an operator meets them: what is wrong is named with its place, and no secret is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import _environment, start_daemon
from databases import fresh_database
from servers import PostgresServer

from daemon.config import BadConfig, load_config

pytestmark = pytest.mark.anyio
NONE = "there is no such setting; did you mean"
SECRET = "a secret of thirty-two characters"


def telemetryd(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "telemetryd", *arguments],
        env=_environment(home) | variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "telemetry.toml"
    made.touch(mode=0o640)
    return made


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody may pass, unlike those of the tests."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("\n[server]\nprot = 1\n", 3, f"server.prot: {NONE} server.port?"),
        ("[server]\nport = 1\n[sevrer]\nhost = 'x'\n", 3, f"sevrer: {NONE} server?"),
        ("port = 1\n", 1, f"port: {NONE} server.port?"),
        ("[auth]\ninternal.modus = 'off'\n", 2, f"auth.internal.modus: {NONE} auth.internal.mode?"),
        ("[auth.internal]\nmode = 'on'\n", 2, "auth.internal.mode: Input should be"),
        ("[journal]\nkeep = 'soon'\n", 2, "journal.keep: "),
        (
            "[[auth.issuers]]\n[[auth.issuers]]\nnam = 'x'\n",
            3,
            f"auth.issuers.1.nam: {NONE} auth.issuers.1.name?",
        ),
        ("\n[[auth.issuers]]\nname = 'x'\n", 2, "auth.issuers.0.issuer: Field required"),
        ("[database]\nurl = 'mysql://x'\n", 2, "database.url: "),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, text: str, line: int, told: str) -> None:
    file.write_text(text)

    with pytest.raises(BadConfig) as refused:
        load_config(file)

    assert f"{file}:{line}: {told}" in str(refused.value)


@pytest.mark.parametrize("variable", ["TELEMETRY_SERVER__PROT", "telemetry_server__prot"])
def test_a_mistake_in_the_environment_is_named_with_its_variable(
    tmp_path: Path, variable: str
) -> None:
    done = telemetryd(tmp_path, "config", "check", **{variable: "1"})

    assert done.returncode == 78
    assert "TELEMETRY_SERVER__PROT: server.prot: there is no such setting" in done.stderr


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"TELEMETRY_HTTP__CORS_ORIGINS": "https://ops.example.com"},
            "cors_origins = ['https://ops.example.com']",
        ),
        (
            {"TELEMETRY_HTTP__CORS_ORIGINS": "https://a.example, https://b.example"},
            "cors_origins = ['https://a.example', 'https://b.example']",
        ),
        (
            {"TELEMETRY_SERVER__TRUSTED_PROXIES": "127.0.0.1/32"},
            "trusted_proxies = ['127.0.0.1/32']",
        ),
        (
            {"TELEMETRY_SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]'},
            "trusted_proxies = ['10.0.0.0/8']",
        ),
        ({"TELEMETRY_METRICS__ALLOW": ""}, "allow = []"),
    ],
)
def test_a_list_may_be_written_plainly(
    file: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert line in load_config(file).shown().splitlines()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TELEMETRY_HTTP__CORS_ORIGINS": '["https://a.example"'}, "http.cors_origins"),
        ({"TELEMETRY_HTTP__CORS_ORIGINS": "a.example"}, "http.cors_origins"),
        ({"TELEMETRY_LIMITS__FREE": "100"}, "limits.free"),
        ({"TELEMETRY_HTTP": "on"}, "TELEMETRY_HTTP: http: "),
        ({"TELEMETRY_AUTH__ISSUERS": "ours"}, "TELEMETRY_AUTH__ISSUERS: auth.issuers.0: "),
    ],
)
def test_what_is_no_list_is_no_traceback(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    done = telemetryd(tmp_path, "serve", **variables)

    assert done.returncode == 78
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_utf8_is_refused_with_its_name(file: Path) -> None:
    file.write_bytes("# caf\u00e9\n".encode("latin-1"))
    done = telemetryd(file.parent, "serve", "--config", str(file))

    assert done.returncode == 78
    assert f"{file}: byte 5 is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        (f'[auth]\njwt_secret = "{SECRET}"\n', "auth.jwt_secret"),
        ('[nats]\nurl = "nats://t0ken@h:4222"\n', "nats.url"),
        ('[database]\nurl = "postgresql://ana:s3cret@h/d"\n', "database.url"),
    ],
)
def test_a_secret_that_everybody_may_read_refuses_the_start(
    open_folder: Path, text: str, setting: str
) -> None:
    file = open_folder / "telemetry.toml"
    file.write_text(text)
    file.chmod(0o644)
    with pytest.raises(BadConfig) as refused:
        load_config(file)
    file.chmod(0o640)
    taken = load_config(file)
    file.chmod(0o644)
    open_folder.chmod(0o750)
    kept = load_config(file)

    assert f"holds {setting}" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert taken == kept


def test_a_file_without_secrets_may_be_read_by_everybody(file: Path) -> None:
    file.write_text('[server]\nport = 1\n[database]\nurl = "postgresql://ana@h/d"\n')
    file.chmod(0o644)

    assert telemetryd(file.parent, "config", "check", "--config", str(file)).returncode == 0


ISSUER = """
[[auth.issuers]]
name = "ours"
issuer = "https://id.example.com"
audience = "telemetry"
algorithm = "HS256"
key_file = "{key}"
scopes = {{}}
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[auth]\njwt_secret = "short"\n', "jwt_secret is shorter than 32 bytes"),
        ('[auth]\nsecret_key = "short"\n', "secret_key"),
        (ISSUER, "holds a secret and may be read by others"),
        (ISSUER.replace("key_file", "jwks_file"), "may be read by others"),
        ('[nats]\nurl = "nats://h"\ncredentials_file = "{key}"\n', "may be read by others"),
        (ISSUER.replace("{key}", "/nowhere"), "/nowhere: No such file"),
        ('[auth.internal]\nmode = "listener"\nhost = "0.0.0.0"\n', "auth.internal"),
        ('[auth.internal]\nmode = "socket"\n', "auth.internal.services"),
    ],
)
def test_the_check_finds_what_would_refuse_the_start(file: Path, text: str, told: str) -> None:
    key = file.with_name("key")
    key.write_text("k" * 32)
    key.chmod(0o644)
    file.write_text(text.replace("{key}", str(key)).replace("{{}}", "{}"))
    checked = telemetryd(file.parent, "config", "check", "--config", str(file))

    assert checked.returncode == 78
    assert told in checked.stderr


@pytest.mark.parametrize("name", ["secret_key", "jwt_secret"])
def test_the_check_looks_at_the_modes_of_key_files(file: Path, name: str) -> None:
    key = file.parent / "data" / "telemetryd" / name
    key.parent.mkdir(parents=True)
    key.write_text("A" * 43 + "=")
    key.chmod(0o644)
    checked = telemetryd(file.parent, "config", "check", "--config", str(file))

    assert checked.returncode == 78
    assert str(key) in checked.stderr


def test_the_check_makes_nothing(file: Path) -> None:
    before = sorted(file.parent.iterdir())
    checked = telemetryd(file.parent, "config", "check", "--config", str(file))

    assert checked.returncode == 0
    assert sorted(file.parent.iterdir()) == before


def test_each_value_says_where_it_comes_from(file: Path) -> None:
    file.write_text(
        "# ours\n[server]\nport = 9000\n[auth]\njwt_secret = '" + SECRET + "'\n"
        "[limits]\nfree = { query_per_hour = 7 }\n"
    )
    shown = telemetryd(
        file.parent, "config", "show", "--origin", "--config", str(file),
        TELEMETRY_SERVER__HOST="::1", TELEMETRY_LIMITS__FREE__POINTS_PER_S="5",
    )  # fmt: skip
    lines = shown.stdout.splitlines()

    assert f"port = 9000  # {file}:3" in lines
    assert "host = '::1'  # TELEMETRY_SERVER__HOST" in lines
    assert f"jwt_secret = '***'  # {file}:5" in lines
    assert "processes = 1  # default" in lines
    [free] = [line for line in lines if line.startswith("free = ")]
    assert free.endswith(f"  # TELEMETRY_LIMITS__FREE, {file}:7")


def test_variables_that_are_no_settings_are_named(tmp_path: Path) -> None:
    done = telemetryd(
        tmp_path, "config", "check",
        TELEMETRY_HTPP__DOCS="false", TELEMETRY_PORT="1", TELEMETRY_SERVER__PORT="0",
    )  # fmt: skip

    assert done.returncode == 0
    assert (
        "warning: TELEMETRY_HTPP__DOCS is no setting; did you mean TELEMETRY_HTTP__DOCS?"
        in done.stderr.splitlines()
    )
    assert "warning: TELEMETRY_PORT is no setting" in done.stderr
    assert "SERVER__PORT is no setting" not in done.stderr


@pytest.mark.parametrize("broken", [b"# caf\xe9\n", b"[log\n", b"[log]\nlevel = 'loud'\n"])
async def test_a_file_that_became_unusable_changes_nothing(
    postgres: PostgresServer, file: Path, broken: bytes
) -> None:
    dsn = await fresh_database(postgres)
    environment = {"TELEMETRY_CONFIG": str(file), "TELEMETRY_NONE__SUCH": "1"}
    daemon = start_daemon(dsn, environment=environment)
    try:
        told = daemon.wait_for("unknown_settings")
        file.write_bytes(broken)
        file.chmod(0o644)
        os.kill(daemon.process.pid, signal.SIGHUP)
        refused = daemon.wait_for("config_not_reloaded")
    finally:
        code = daemon.stop()

    assert "TELEMETRY_NONE__SUCH" in told["reasons"][0]
    assert str(file) in refused["reason"]
    assert code == 0
