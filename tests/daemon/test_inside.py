"""Settings with which internal calls would not be safe refuse the start (S-01c)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config
from daemon.domain.errors import DomainError
from daemon.inside import open_inside
from daemon.service.internal import UnsafeInternal

TOKEN = "0123456789abcdef0123456789abcdef"
SERVICE = {"name": "billing", "scopes": ["read"]}


def config(**internal: Any) -> Config:
    return Config.model_validate({"auth": {"internal": {"services": [SERVICE]} | internal}})


def a_file(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_by_default_there_is_no_door() -> None:
    assert open_inside(Config()) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "8.8.8.8", "2001:4860:4860::8888", "localhost", "169.254.1.1", ""]
)
def test_a_listener_is_for_inside_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(DomainError):
        open_inside(config(mode="listener", host=host, port=0, token_file=a_file(tmp_path)))


@pytest.mark.parametrize("text", ["", "short", f"{TOKEN}\n{TOKEN}\n{TOKEN}", f"{TOKEN}\nshort"])
def test_a_listener_needs_one_long_token_or_two(tmp_path: Path, text: str) -> None:
    with pytest.raises(DomainError):
        open_inside(config(mode="listener", port=0, token_file=a_file(tmp_path, text)))


def test_a_listener_without_its_token_is_none(tmp_path: Path) -> None:
    for file in (None, tmp_path / "missing", a_file(tmp_path, mode=0o644)):
        with pytest.raises(DomainError):
            open_inside(config(mode="listener", port=0, token_file=file))


@pytest.mark.parametrize("scope", ["admin", "keys"])
def test_no_service_is_everybody(tmp_path: Path, scope: str) -> None:
    services = [{"name": "billing", "scopes": ["read", scope]}]

    with pytest.raises(DomainError):
        open_inside(config(mode="socket", socket=tmp_path / "in", uids=[0], services=services))


@pytest.mark.parametrize(
    "wrong",
    [{"uids": []}, {"services": []}, {"services": [SERVICE, SERVICE]}, {"group": "no-such-group"}],
)
def test_a_socket_is_for_somebody(tmp_path: Path, wrong: dict[str, Any]) -> None:
    settings = {"mode": "socket", "socket": tmp_path / "in", "uids": [0]} | wrong

    with pytest.raises(DomainError):
        open_inside(config(**settings))


def test_a_socket_is_for_its_owner_and_group_and_goes_with_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    opened = open_inside(config(mode="socket", socket=path, uids=[os.getuid()]))
    assert opened is not None
    mode = path.stat().st_mode & 0o777
    with pytest.raises(OSError, match="somebody listens"):
        open_inside(config(mode="socket", socket=path, uids=[os.getuid()]))
    opened.close()

    assert mode == 0o660
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced_but_no_file(tmp_path: Path) -> None:
    left, file = tmp_path / "left.sock", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    file.write_text("precious")
    opened = open_inside(config(mode="socket", socket=left, uids=[0]))
    assert opened is not None
    opened.close()
    with pytest.raises(DomainError):
        open_inside(config(mode="socket", socket=file, uids=[0]))

    assert file.read_text() == "precious"


def test_a_relative_token_file_is_a_credential_of_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_file(tmp_path, f"{TOKEN}\n{TOKEN[::-1]}\n", mode=0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    opened = open_inside(config(mode="listener", port=0, token_file="token"))
    assert opened is not None
    opened.close()

    assert opened.callers.tokens == (TOKEN.encode(), TOKEN[::-1].encode())
    assert TOKEN not in repr(opened)


def test_a_user_whom_the_kernel_does_not_tell_from_others_is_refused(tmp_path: Path) -> None:
    """65534 stands for everybody whom a user namespace does not know."""
    with pytest.raises(UnsafeInternal, match="65534"):
        open_inside(config(mode="socket", socket=tmp_path / "in", uids=[65_534]))


IN_A_NAMESPACE = """
import sys
from daemon.config import Config
from daemon.inside import open_inside
from daemon.service.internal import UnsafeInternal
from daemon.service.internal import UnsafeInternal
for uid in sys.argv[2:]:
    internal = {"mode": "socket", "socket": sys.argv[1], "uids": [int(uid)],
                "services": [{"name": "billing", "scopes": ["read"]}]}
    try:
        open_inside(Config.model_validate({"auth": {"internal": internal}})).close()
        print("open")
    except UnsafeInternal as error:
        print("refused", "PrivateUsers=no" in str(error))
"""


def test_the_users_of_a_unit_with_private_users_are_known_or_refused(tmp_path: Path) -> None:
    """As systemd's PrivateUsers=yes: only our own user is known."""
    enter = ["unshare", "--user", "--map-current-user"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run(
        [*enter, sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path / "in"), str(os.getuid()),
         str(os.getuid() + 1_000)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout.splitlines(), done.stderr) == (["open", "refused True"], "")
