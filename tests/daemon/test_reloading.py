"""A reload that fails changes nothing, and the service manager hears its end."""

from __future__ import annotations

import socket
import tempfile
from typing import Any, NoReturn, cast

import pytest

from daemon.config import BadConfig
from daemon.parts import Parts
from daemon.reloading import reload
from daemon.workers.systemd import ServiceManager


@pytest.mark.parametrize("error", [BadConfig("line 3"), ValueError("nobody thought of it")])
def test_a_reload_that_fails_is_over_too(error: Exception) -> None:
    def read() -> NoReturn:
        raise error

    untouched = cast(Parts, None)
    with tempfile.TemporaryDirectory() as folder, _listening(f"{folder}/notify") as heard:
        is_done = reload(untouched, read, ServiceManager(f"{folder}/notify"))
        told = [heard.recv(4096).decode().partition("\n")[0] for _ in range(3)]

    assert not is_done
    assert [words.partition("=")[0] for words in told] == ["RELOADING", "STATUS", "READY"]


def _listening(address: str) -> Any:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.settimeout(60)
    opened.bind(address)
    return opened
