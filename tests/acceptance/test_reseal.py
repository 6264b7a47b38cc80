"""`telemetryd db reseal`: the secrets of channels under another secret_key."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from documents import BIN
from receivers import Sink, http_sink
from servers import PostgresServer

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
SECRET = "whsec_" + base64.b64encode(b"known to the receiver, and to us").decode()
ALLOWED = '["127.0.0.1"]'


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    return asyncio.run(fresh_database(postgres))


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


def reseal(
    daemon: DaemonProcess, dsn: str, *, key: str, former: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    file = folder / "secret_key.former"
    file.write_text(former)
    file.chmod(0o600)
    return subprocess.run(
        [BIN / "telemetryd", "db", "reseal", "--former", file],
        env=daemon.environment
        | {"TELEMETRY_DATABASE__URL": dsn, "TELEMETRY_AUTH__SECRET_KEY": key},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_secret_outlives_the_key_that_encrypted_it(dsn: str, tmp_path: Path, sink: Sink) -> None:
    first = start_daemon(dsn, auth__secret_key=KEYS[0], notifications__allow_hosts=ALLOWED)
    with first.http() as http:
        channel = {"name": "ops", "kind": "webhook", "url": sink.url, "secret": SECRET}
        assert http.post("/channels", json=channel).status_code == 201
        assert http.post("/channels", json={"name": "feed", "kind": "stream"}).is_success

    wrong = reseal(first, dsn, key=KEYS[1], former=KEYS[2], folder=tmp_path)
    done = reseal(first, dsn, key=KEYS[1], former=KEYS[0], folder=tmp_path)
    again = reseal(first, dsn, key=KEYS[1], former=KEYS[0], folder=tmp_path)
    first.stop()
    second = start_daemon(
        dsn,
        home=first.home,
        key=first.key,
        auth__secret_key=KEYS[1],
        notifications__allow_hosts=ALLOWED,
    )
    with second.http() as http:
        tried = http.post("/channels/ops/test").json()
    second.stop()

    assert (wrong.returncode, "secrets of ops" in wrong.stderr) == (5, True), wrong.stderr
    assert (done.returncode, done.stderr) == (0, "1 channels sealed anew, 0 as they were\n")
    assert (again.returncode, again.stderr) == (0, "0 channels sealed anew, 1 as they were\n")
    assert tried["success"] is True
    assert sink.requests[-1].is_signed_with(SECRET)


@pytest.mark.parametrize(("mode", "text", "code"), [(0o644, KEYS[0], 78), (0o600, "none", 78)])
def test_a_former_key_that_is_none_or_open_is_refused(
    dsn: str, tmp_path: Path, mode: int, text: str, code: int
) -> None:
    file = tmp_path / "former"
    file.write_text(text)
    file.chmod(mode)
    done = subprocess.run(
        [BIN / "telemetryd", "db", "reseal", "--former", file],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TELEMETRY_DATABASE__URL": dsn},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == code
    assert KEYS[0] not in done.stderr
