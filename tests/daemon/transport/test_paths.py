"""Slashes inside ids."""

from __future__ import annotations

import pytest

from daemon.transport.paths import routable_path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/devices/a", "/devices/a"),
        (b"/devices/a%2Fb/stats", "/devices/a%2Fb/stats"),
        (b"/devices/a%2fb", "/devices/a%2Fb"),
        (b"/devices/a%20b%2F?q=%2F", "/devices/a b%2F"),
        (b"/devices/%FF%2F", "/devices/\ufffd%2F"),
    ],
)
def test_an_encoded_slash_does_not_divide(raw: bytes, path: str) -> None:
    assert routable_path(raw) == path
