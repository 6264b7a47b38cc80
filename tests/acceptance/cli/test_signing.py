"""A key whose requests are signed, from the command line: made, used, and kept in a context."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from daemons import DaemonProcess


class Signed:
    """A user with such a key, made as a reader of the manual would make it."""

    def __init__(self, cli: CommandLine, daemon: DaemonProcess, folder: Path) -> None:
        self.private, self.public = folder / "sign.pem", folder / "sign.pub"
        self.key_file = folder / "signed.key"
        for words in (
            f"genpkey -algorithm ed25519 -out {self.private}",
            f"pkey -in {self.private} -pubout -out {self.public}",
        ):
            subprocess.run(["openssl", *words.split()], check=True, capture_output=True)
        self.private.chmod(0o600)
        made = cli.run(
            "key", "create", "signed", "--scope", "ingest,read,keys", "--tier", "enterprise",
            "--signing-key", str(self.public),
        )  # fmt: skip
        assert made.code == 0, made.err
        self.key = made.out.strip()
        self.key_file.write_text(self.key)
        self.daemon = daemon
        self.user = CommandLine(folder)

    def run(self, *arguments: str, **environ: str) -> Result:
        return self.user.run(
            *arguments,
            **{"TELEMETRYCTL_SERVER": self.daemon.url, "TELEMETRYCTL_TOKEN": self.key,
               "TELEMETRYCTL_SIGNING_KEY_FILE": str(self.private)} | environ,
        )  # fmt: skip


@pytest.fixture(scope="module")
def signed(daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    cli = CommandLine(daemon.home, daemon.environment)
    return Signed(cli, daemon, tmp_path_factory.mktemp("signed"))


def test_every_request_of_a_command_is_signed(signed: Signed) -> None:
    assert signed.run("write", "pump_1", "flow=2.5").code == 0
    assert "2.5" in signed.run("latest", "pump_1").out
    assert "2.5" in signed.run("query", "flow", "--since", "5m").out
    for words in (
        ("status",), ("whoami",), ("key", "ls"), ("device", "ls", "-o", "json"),
        ("query", "flow", "--since", "1h", "--device", "pump_1"),
    ):  # fmt: skip
        done = signed.run(*words)
        assert done.code == 0, (words, done.err)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_batches_are_signed_as_they_are_sent(
    signed: Signed, tmp_path: Path, compression: str
) -> None:
    file = tmp_path / "points.jsonl"
    lines = [{"device_id": "d", "metric_name": "n", "value": v, "timestamp": "2026-11-21T10:00:00Z"}
             for v in range(50)]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, lines)))

    done = signed.run("import", str(file), "--shift-to", "now", "--compress", compression)

    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("transport", "said"),
    [("ws", "/ws 101"), ("sse", "/stream/telemetry 200"), ("poll", "/changes?after=")],
)
def test_streams_are_opened_signed(signed: Signed, transport: str, said: str) -> None:
    # On a busy machine a second may be over before a stream is open.
    for span in ("1s", "10s", "60s"):
        done = signed.run("tail", "--for", span, "-v", "--transport", transport)
        if said in done.err:
            break

    assert done.code == 0, done.err
    assert said in done.err
    assert "does not work here" not in done.err


def test_without_the_private_key_the_key_is_of_no_use(signed: Signed) -> None:
    for words in (("whoami",), ("write", "d", "m=1"), ("tail", "--for", "60s")):
        done = signed.run(*words, TELEMETRYCTL_SIGNING_KEY_FILE="")

        assert done.code == 4, (words, done)
        assert "signed" in done.err


def test_a_login_keeps_the_signing_key_with_its_context(signed: Signed) -> None:
    given = ("--token-file", str(signed.key_file), "--signing-key-file", str(signed.private))

    done = signed.user.run("login", signed.daemon.url, *given, "--name", "here")

    assert done.code == 0, done.err
    assert signed.user.run("whoami").code == 0
    assert str(signed.private) in signed.user.run("context", "show", "--origin").out
    # The signing key of the context is not for other keys.
    admin = {"TELEMETRYCTL_TOKEN": signed.daemon.key}
    assert signed.user.run("whoami", **admin).code == 0
    mixed = signed.user.run("whoami", **admin, TELEMETRYCTL_SIGNING_KEY_FILE=str(signed.private))
    assert mixed.code == 4
    assert "without a signing key" in mixed.err
    again = signed.user.run("login", signed.daemon.url, "--token-stdin", "--name", "here",
                            stdin=signed.daemon.key)  # fmt: skip
    assert again.code == 0, again.err
    assert "signing_key_file" not in (signed.user.config_folder / "config.toml").read_text()


def test_a_private_key_is_never_sent(signed: Signed, cli: CommandLine) -> None:
    done = cli.run("key", "create", "x", "--scope", "read", "--signing-key", str(signed.private))

    assert done.code == 78
    assert "stays here" in done.err
    assert signed.private.read_text().splitlines()[1] not in done.err


def test_a_private_key_that_others_may_read_is_refused(signed: Signed, tmp_path: Path) -> None:
    loose = tmp_path / "loose.pem"
    loose.write_text(signed.private.read_text())
    loose.chmod(0o644)

    done = signed.run("whoami", TELEMETRYCTL_SIGNING_KEY_FILE=str(loose))

    assert done.code == 78
    assert f"chmod 600 {loose}" in done.err


@pytest.mark.parametrize("text", ["", "no key", "public"])
def test_a_file_that_is_no_private_key_is_refused(
    signed: Signed, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "file"
    file.write_text(signed.public.read_text() if text == "public" else text)
    file.chmod(0o600)

    for named in (file, tmp_path / "nowhere"):
        done = signed.run("whoami", TELEMETRYCTL_SIGNING_KEY_FILE=str(named))
        assert done.code == 78
        assert str(named) in done.err


def test_without_the_extra_it_says_what_to_install(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "http_message_signatures.py").write_text("raise ImportError")

    done = signed.run("whoami", PYTHONPATH=str(tmp_path))

    assert done.code == 78
    assert "telemetryctl[sign]" in done.err


def test_a_rotation_gives_a_key_its_first_signing_key(
    signed: Signed, cli: CommandLine, daemon: DaemonProcess
) -> None:
    assert cli.run("key", "create", "turned", "--scope", "read").code == 0

    turned = cli.run("key", "rotate", "turned", "--signing-key", str(signed.public))

    assert turned.code == 0, turned.err
    key = turned.out.strip()
    assert signed.run("whoami", TELEMETRYCTL_TOKEN=key).code == 0
    assert signed.run("whoami", TELEMETRYCTL_TOKEN=key, TELEMETRYCTL_SIGNING_KEY_FILE="").code == 4
    shown = json.loads(cli.run("key", "show", "turned", "-o", "json").out)
    assert len(shown["signing_key"]) == 44
